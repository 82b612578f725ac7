"""All true captions of a picture of shapes, from the things that the exact checker detects in it.

A caption names every thing, but may omit attributes: "a small red circle", "a red circle", "a small circle",
"a circle". Two things may be named in either order, with their relation or with "and".
"""

from collections.abc import Iterator, Sequence
from itertools import permutations, product

from unstir.data.entry import Entry
from unstir.data.shapes_check import DetectedThing, detect_things
from unstir.data.shapes_scene import NUMBERS
from unstir.data.transforms import decode, fit

SIDE = 32
"""Pixels at which pictures are read."""

Described = tuple[str | None, str | None, str]
"""Size and colour, None where they are omitted, and form."""


def true_captions(found: Sequence[DetectedThing]) -> tuple[str, ...]:
    """All true captions, the longest first.

    found: one to four things, by `shapes_check.detect_things`.
    """
    ways = [_phrase(alike, len(found)) for alike in _described(found)]
    if len(found) == 2:
        ways += [words for first, second in permutations(found) for words in _pairs(first, second)]
    return tuple(sorted(ways, key=lambda words: (-len(words.split()), words)))


def _described(found: Sequence[DetectedThing]) -> Iterator[Described]:
    """At most four descriptions that are true of all these things; none if their forms differ."""
    sizes, colours, forms = ({getattr(thing, name) for thing in found} for name in ("size", "colour", "form"))
    if len(forms) > 1:
        return
    for size, colour in product({*sizes, None} if len(sizes) == 1 else {None}, {*colours, None}):
        if colour is None or len(colours) == 1:
            yield size, colour, next(iter(forms))


def _pairs(first: DetectedThing, second: DetectedThing) -> Iterator[str]:
    """Captions of two things whose descriptions differ, with their relation and with "and"."""
    for one, other in product(_described([first]), _described([second])):
        if any(a is not None and b is not None and a != b for a, b in zip(one, other, strict=True)):
            for relation in ("and", relation_of(first, second)):
                yield f"{_phrase(one)} {relation} {_phrase(other)}"


def relation_of(first: DetectedThing, second: DetectedThing) -> str:
    """The relation of the first thing to the second, along the axis on which they are further apart."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _phrase(described: Described, count: int = 1) -> str:
    words = " ".join(word for word in described if word is not None)
    if count == 1:
        return f"{'an' if words[0] == 'o' else 'a'} {words}"
    return f"{NUMBERS[count]} {words}{'es' if words.endswith('cross') else 's'}"


def checked_captions(entry: Entry) -> tuple[str, ...]:
    """A `captioner`: the picture's own caption, then all other true ones."""
    others = true_captions(detect_things(fit(decode(entry.read()), SIDE, 3)))
    return (entry.caption, *(words for words in others if words != entry.caption))
