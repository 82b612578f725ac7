"""The scenes of the built-in shapes and their captions; `caption` and `parse` are inverse to each other.

The grammar; parts in [] are optional:

    caption  = things | thing relation thing
    things   = thing | number [size] colour form in the plural
    thing    = "a" or "an" [size] colour form      ("a small red circle", "an orange cross")
    relation = "left of" | "right of" | "above" | "below" | "and"
    number   = "two" | "three" | "four"
    size     = "small" | "large"                   (missing: any size between, too)
    colour   = "red" | "orange" | "yellow" | "green" | "blue" | "purple" | "pink" | "black"
    form     = "circle" | "square" | "triangle" | "cross"
"""

from dataclasses import dataclass

COLOURS = {
    "red": (215, 30, 40),
    "orange": (250, 130, 0),
    "yellow": (245, 215, 20),
    "green": (40, 160, 60),
    "blue": (35, 85, 225),
    "purple": (125, 40, 175),
    "pink": (245, 105, 180),
    "black": (30, 30, 30),
}
"""sRGB. The nearest two (orange and yellow) are 88 apart, so noise of a few levels never confuses them."""

FORMS = ("circle", "square", "triangle", "cross")
SIZES = ("small", "large")
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}

RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "and": "and"}
"""Each relation and its opposite."""

HELD_OUT_PAIRS = frozenset(
    {
        ("red", "triangle"),
        ("orange", "triangle"),
        ("yellow", "square"),
        ("green", "circle"),
        ("blue", "cross"),
        ("purple", "circle"),
    }
)
"""(colour, form) pairs that training never shows, in any scene. Every colour and every form is shown in other pairs."""

HELD_OUT_RELATIONS = frozenset(
    {
        ("circle", "above", "square"),
        ("square", "left of", "triangle"),
        ("cross", "above", "circle"),
        ("triangle", "left of", "cross"),
    }
)
"""(form, relation, form) triples that training never shows, in any colours, nor by the opposite relation."""


@dataclass(frozen=True)
class Thing:
    """A colour and a form, and a size where the words give one. Raises ValueError for other words."""

    colour: str
    form: str
    size: str | None = None

    def __post_init__(self) -> None:
        if self.colour not in COLOURS or self.form not in FORMS or self.size not in (None, *SIZES):
            raise ValueError(f"there is no {self.size or ''} {self.colour} {self.form} among the shapes")


@dataclass(frozen=True)
class ShapeScene:
    """One to four of the same thing, or two things and their relation. Raises ValueError for anything else."""

    first: Thing
    count: int = 1
    relation: str | None = None
    second: Thing | None = None

    def __post_init__(self) -> None:
        if self.count not in NUMBERS or (self.relation is None) != (self.second is None):
            raise ValueError("a scene is one to four of the same thing, or two things and a relation")
        if self.relation is not None and (self.relation not in RELATIONS or self.count != 1):
            raise ValueError(f"'{self.relation}' does not relate {self.count} things to another")

    @property
    def things(self) -> tuple[Thing, ...]:
        """Every thing in the picture, one by one."""
        return (self.first, self.second) if self.second else (self.first,) * self.count

    @property
    def skill(self) -> str:
        """What a model must be able to do: "single", "two" (things, anywhere), "count" or "relation"."""
        if self.relation is not None:
            return "two" if self.relation == "and" else "relation"
        return "single" if self.count == 1 else "count"


def has_held_out(scene: ShapeScene) -> bool:
    """Whether the scene has a combination that training never shows."""
    if any((thing.colour, thing.form) in HELD_OUT_PAIRS for thing in scene.things):
        return True
    if scene.relation is None or scene.second is None:
        return False
    stated = (scene.first.form, scene.relation, scene.second.form)
    reversed_ = (scene.second.form, RELATIONS[scene.relation], scene.first.form)
    return stated in HELD_OUT_RELATIONS or reversed_ in HELD_OUT_RELATIONS


def caption(scene: ShapeScene) -> str:
    """The caption of a scene, by the grammar above."""
    if scene.second is not None:
        return f"{_one(scene.first)} {scene.relation} {_one(scene.second)}"
    if scene.count == 1:
        return _one(scene.first)
    plural = scene.first.form + ("es" if scene.first.form == "cross" else "s")
    return " ".join(filter(None, (NUMBERS[scene.count], scene.first.size, scene.first.colour, plural)))


def parse(words: str) -> ShapeScene:
    """The scene of a caption. Raises ValueError for words that do not follow the grammar."""
    for relation in RELATIONS:
        first, found, second = words.partition(f" {relation} ")
        if found:
            return ShapeScene(_parse_one(first, words), 1, relation, _parse_one(second, words))
    number, _, rest = words.partition(" ")
    for count, name in NUMBERS.items():
        if number == name and count > 1:
            singular = rest.removesuffix("es") if rest.endswith("crosses") else rest.removesuffix("s")
            scene = ShapeScene(_parse_thing(singular, words), count)
            break
    else:
        scene = ShapeScene(_parse_one(words, words))
    if caption(scene) != words:
        raise ValueError(f"'{words}' is not a caption of the shapes; write '{caption(scene)}'")
    return scene


def _one(thing: Thing) -> str:
    words = " ".join(filter(None, (thing.size, thing.colour, thing.form)))
    return f"{'an' if words[0] == 'o' else 'a'} {words}"


def _parse_one(words: str, whole: str) -> Thing:
    article, _, rest = words.partition(" ")
    thing = _parse_thing(rest, whole)
    if _one(thing) != words:
        raise ValueError(f"'{article}' cannot begin a thing in '{whole}'")
    return thing


def _parse_thing(words: str, whole: str) -> Thing:
    match words.split(" "):
        case [size, colour, form]:
            return Thing(colour, form, size)
        case [colour, form]:
            return Thing(colour, form)
        case _:
            raise ValueError(f"'{whole}' is not a caption of the shapes; write 'a red circle' or 'two blue squares'")
