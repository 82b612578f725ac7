"""Planning scenes composed of transparent drawings: the caption, and the position of each drawing.

From single drawings a model cannot learn numbers or spatial relations. Scenes of several drawings have both, and their
captions are known exactly. A scene is planned here as a few numbers; `scenes.compose` paints it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from unstir.scenes.phrases import NUMBERS, misspelt, plural, with_article
from unstir.scenes.scene import Box, Drawing, NamedThing, Placed, Scene

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 46, 56), "orange": (250, 140, 40), "yellow": (255, 214, 64), "green": (76, 170, 80),
    "blue": (52, 110, 220), "light blue": (140, 205, 250), "purple": (140, 80, 190), "pink": (250, 150, 190),
    "brown": (140, 94, 64), "white": (255, 255, 255), "gray": (150, 154, 160), "black": (24, 24, 26),
    "teal": (32, 150, 150), "beige": (240, 224, 196),
}  # fmt: skip


class _Draft(NamedTuple):
    """A scene without style and background.

    names: of each thing named, (first word, end, slots of `placed`).
    """

    words: str
    placed: tuple[Placed, ...]
    names: tuple[tuple[int, int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class SceneMix:
    """How often each kind of scene occurs; fractions from 0 to 1.

    count, two, relation: of the scenes around a thing; the rest are single drawings.
    background: of all scenes, with a coloured background.
    typos: of the captions, with a typo.
    styleless: of the captions, without a style.
    """

    count: float = 0.12
    two: float = 0.12
    relation: float = 0.18
    background: float = 0.08
    typos: float = 0.06
    styleless: float = 0.08


class ScenePlanner:
    """Plans scenes around a given drawing, with other drawings of the same style.

    drawings: to compose of.
    mix: the kinds of scenes.
    fits: (caption) -> whether it is short enough for the model; other scenes are not planned.
    """

    def __init__(
        self, drawings: Sequence[Drawing], mix: SceneMix, fits: Callable[[str], bool] = lambda _: True
    ) -> None:
        self.drawings, self.mix, self.fits = drawings, mix, fits
        self._things: dict[str, list[int]] = {}
        for row, drawing in enumerate(drawings):
            if drawing.thing:
                self._things.setdefault(drawing.style, []).append(row)

    def scene(self, row: int, rng: np.random.Generator) -> Scene:
        """A scene around the drawing in this row; if no caption fits, the single drawing with its shortest caption."""
        drawing, mix = self.drawings[row], self.mix
        for _ in range(4):
            dice = rng.random() if drawing.thing else 1.0
            if dice < mix.count:
                words, placed, names = self._count(row, rng)
            elif dice < mix.count + mix.two:
                words, placed, names = self._two(row, rng)
            elif dice < mix.count + mix.two + mix.relation:
                words, placed, names = self._relation(row, rng)
            else:
                words, placed, names = _named(thing_words(drawing, rng), (Placed(row, 1.0, 0.0, 0.0),))
            background, words = self._background(drawing, words, rng)
            if background is not None and len(placed) == 1:
                placed = (Placed(row, 0.8, 0.1, 0.1),)
            caption, before = (words, 0) if rng.random() < mix.styleless else with_style(words, drawing.phrase, rng)
            if rng.random() < mix.typos:
                caption = misspelt(caption, rng)
            if self.fits(caption):
                named = [
                    NamedThing(before + first, before + end, *self._where([placed[slot] for slot in slots]))
                    for first, end, slots in names
                ]
                return Scene(caption, placed, background, tuple(named))
        return Scene(f"{drawing.name}, {drawing.phrase}", (Placed(row, 1.0, 0.0, 0.0),), None)

    def _partner(self, row: int, rng: np.random.Generator) -> int:
        """Another thing of the same style with another name."""
        rows = self._things[self.drawings[row].style]
        for _ in range(8):
            other = rows[int(rng.integers(len(rows)))]
            if self.drawings[other].name != self.drawings[row].name:
                return other
        return row

    def _where(self, placed: Sequence[Placed]) -> tuple[float, float, float]:
        """The mean centre of placed drawings, and their mean scale."""
        boxes = [self.drawings[one.row].box for one in placed]
        x = [one.x + one.scale * (box[0] + box[2]) / 2 for one, box in zip(placed, boxes, strict=True)]
        y = [one.y + one.scale * (box[1] + box[3]) / 2 for one, box in zip(placed, boxes, strict=True)]
        return sum(x) / len(x), sum(y) / len(y), sum(one.scale for one in placed) / len(placed)

    def _count(self, row: int, rng: np.random.Generator) -> _Draft:
        n = 2 + int(rng.integers(3))
        name = plural(self.drawings[row].name)
        words = name if n > 2 and rng.random() < 0.1 else f"{n if rng.random() < 0.1 else NUMBERS[n]} {name}"
        boxes = _shaken(COUNT_BOXES[n][int(rng.integers(len(COUNT_BOXES[n])))], rng)
        return _named(words, tuple(self.put(row, box) for box in boxes))

    def _two(self, row: int, rng: np.random.Generator) -> _Draft:
        other = self._partner(row, rng)
        first, second = (row, other) if rng.random() < 0.5 else (other, row)
        with_articles = rng.random() < 0.6
        one, two = self._called(first, with_articles, rng), self._called(second, with_articles, rng)
        left, right = _shaken(SIDE_BY_SIDE, rng)
        return _pair(one, "and", two, (self.put(first, left), self.put(second, right)), (0, 1))

    def _relation(self, row: int, rng: np.random.Generator) -> _Draft:
        other = self._partner(row, rng)
        with_articles = rng.random() < 0.6
        one, two = self._called(row, with_articles, rng), self._called(other, with_articles, rng)
        kinds = tuple(RELATIONS)
        kind = kinds[int(rng.integers(len(kinds)))]
        ways, boxes, first_is_first, stand = RELATIONS[kind]
        way = ways[int(rng.integers(len(ways)))]
        a, b = _shaken(boxes, rng, 0.0 if stand else 0.02)
        rows = (row, other) if first_is_first else (other, row)
        if not stand:
            placed = (self.put(rows[0], a), self.put(rows[1], b))
            return _pair(one, way, two, placed, (0, 1) if first_is_first else (1, 0))
        return _pair(one, way, two, (self.put(rows[1], b, upright=-1), self.put(rows[0], a, upright=1)), (1, 0))

    def _called(self, row: int, articles: bool, rng: np.random.Generator) -> str:
        drawing = self.drawings[row]
        name = drawing.name
        if drawing.synonyms and rng.random() < 0.1:
            name = drawing.synonyms[int(rng.integers(len(drawing.synonyms)))]
        return with_article(name) if articles else name

    def put(self, row: int, cell: Box, upright: int = 0) -> Placed:
        """Place a drawing in the centre of a cell, as large as the cell allows, but not enlarged.

        upright: 1 aligns it with the bottom of the cell, -1 with the top.
        """
        left, top, right, bottom = self.drawings[row].box
        width, height = max(right - left, 0.05), max(bottom - top, 0.05)
        scale = min((cell[2] - cell[0]) / width, (cell[3] - cell[1]) / height, 0.9)
        x = (cell[0] + cell[2]) / 2 - scale * (left + right) / 2
        match upright:
            case 1:
                y = cell[3] - scale * bottom
            case -1:
                y = cell[1] - scale * top
            case _:
                y = (cell[1] + cell[3]) / 2 - scale * (top + bottom) / 2
        return Placed(row, scale, x, y)

    def _background(
        self, drawing: Drawing, words: str, rng: np.random.Generator
    ) -> tuple[tuple[int, int, int] | None, str]:
        if rng.random() >= self.mix.background:
            return None, words
        names = [name for name in COLOURS if not (drawing.dark and name in ("black", "brown", "purple", "blue"))]
        name = names[int(rng.integers(len(names)))]
        red, green, blue = (int(np.clip(c + rng.integers(-12, 13), 0, 255)) for c in COLOURS[name])
        template = ("{} on a {} background", "{} with a {} background", "{}, {} background")[int(rng.integers(3))]
        return (red, green, blue), template.format(words, name)


COUNT_BOXES: dict[int, tuple[tuple[Box, ...], ...]] = {
    2: (((0.02, 0.2, 0.49, 0.8), (0.51, 0.2, 0.98, 0.8)),),
    3: (
        ((0.27, 0.02, 0.73, 0.48), (0.02, 0.52, 0.48, 0.98), (0.52, 0.52, 0.98, 0.98)),
        ((0.01, 0.3, 0.33, 0.7), (0.34, 0.3, 0.66, 0.7), (0.67, 0.3, 0.99, 0.7)),
    ),
    4: (((0.03, 0.03, 0.48, 0.48), (0.52, 0.03, 0.97, 0.48), (0.03, 0.52, 0.48, 0.97), (0.52, 0.52, 0.97, 0.97)),),
}
SIDE_BY_SIDE: tuple[Box, ...] = ((0.02, 0.15, 0.49, 0.85), (0.51, 0.15, 0.98, 0.85))
_STACKED: tuple[Box, ...] = ((0.15, 0.02, 0.85, 0.49), (0.15, 0.51, 0.85, 0.98))
_STANDING: tuple[Box, ...] = ((0.2, 0.02, 0.8, 0.5), (0.1, 0.48, 0.9, 0.98))

RELATIONS: dict[str, tuple[tuple[str, ...], tuple[Box, ...], bool, bool]] = {
    "left": (("left of", "to the left of"), SIDE_BY_SIDE, True, False),
    "right": (("right of", "to the right of"), SIDE_BY_SIDE, False, False),
    "above": (("above", "over"), _STACKED, True, False),
    "below": (("below", "under"), _STACKED, False, False),
    "on": (("on", "on top of"), _STANDING, True, True),
}
"""Each relation: its phrases, two cells, whether the first thing named is in the first cell, and whether it stands on
the other.
"""


def _shaken(boxes: tuple[Box, ...], rng: np.random.Generator, by: float = 0.02) -> tuple[Box, ...]:
    """Each cell shifted by up to `by` and shrunk by up to a sixth, for variety of positions and sizes."""
    out = []
    for left, top, right, bottom in boxes:
        shrink = rng.uniform(0.84, 1.0)
        x, y = (left + right) / 2 + rng.uniform(-by, by), (top + bottom) / 2 + rng.uniform(-by, by)
        half_w, half_h = shrink * (right - left) / 2, shrink * (bottom - top) / 2
        if by == 0:  # a thing that stands on the other must touch it: the shared edge is kept
            out.append((x - half_w, top if top > 0.4 else bottom - 2 * half_h, x + half_w, bottom))
        else:
            out.append((x - half_w, y - half_h, x + half_w, y + half_h))
    return tuple(out)


def thing_words(drawing: Drawing, rng: np.random.Generator) -> str:
    """Words for the thing: mostly its name, sometimes with synonyms or replaced by them."""
    name, synonyms, dice = drawing.name, drawing.synonyms, rng.random()
    if synonyms and dice < 0.18:
        tag = synonyms[int(rng.integers(len(synonyms)))]
        return f"{tag} {name}" if dice < 0.09 else f"{name} {tag}"
    if len(synonyms) > 1 and dice < 0.28:
        picked = rng.permutation(len(synonyms))[: 1 + int(rng.integers(min(3, len(synonyms))))]
        return " ".join(synonyms[i] for i in picked)
    if drawing.thing and dice < 0.36:
        return plural(name)
    return with_article(name) if dice > 0.88 else name


def with_style(words: str, phrase: str, rng: np.random.Generator) -> tuple[str, int]:
    """The words combined with the style in one of several orders, and the number of words before them."""
    ways = ("{0}, {1}", "{0}, {1}", "{0} {1}", "{1} {0}", "{0} in {1} style", "{1}, {0}")
    way = ways[int(rng.integers(len(ways)))]
    return way.format(words, phrase), len(phrase.split(" ")) if way.startswith("{1}") else 0


def _named(words: str, placed: tuple[Placed, ...]) -> _Draft:
    """A draft in which all words name all that is placed."""
    return _Draft(words, placed, ((0, len(words.split(" ")), tuple(range(len(placed)))),))


def _pair(one: str, between: str, two: str, placed: tuple[Placed, ...], named: tuple[int, int]) -> _Draft:
    """A draft of two things.

    named: the slot of the thing named first, and of the second.
    """
    first, middle, last = (len(words.split(" ")) for words in (one, between, two))
    names = ((0, first, named[:1]), (first + middle, first + middle + last, named[1:]))
    return _Draft(f"{one} {between} {two}", placed, names)
