"""Detecting the shapes in a picture, and checking a caption against them.

Exact on clean renders from 32 pixels up, tolerant of mild noise and blur, so that generated pictures can be scored.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from unstir.data.shapes_draw import AREA, MASS_OFFSET, coverage
from unstir.data.shapes_scene import COLOURS, FORMS, ShapeScene, Thing, parse

UNCLEAR = "unclear"
"""The colour or form of a thing that matches none of the known ones."""

_FOREGROUND = 52.0  # distance from the background in RGB; noise of 8 levels stays below it, the palest colour is at 149
_COLOUR_LIMIT = 80.0  # further than this from every colour is none of them
_FORM_LIMIT = 0.65  # less overlap than this with every form is none of them
_LEAST_AREA = 0.01  # share of the picture; the smallest thing drawn covers 0.025
_LARGE = 0.165  # radius in the gap between small and large


@dataclass(frozen=True)
class DetectedThing:
    """One shape in a picture.

    colour, form: a word or "unclear".  size: "small" or "large".  x, y: its centre in [0, 1].
    """

    colour: str
    form: str
    size: str
    x: float
    y: float


@dataclass(frozen=True)
class CaptionCheck:
    """Which parts of a caption are true of a picture; a part that the caption does not mention is.

    count: the number of things.
    colour, form: the colours; the forms.
    things: the pairs of colour and form, and their number.
    size: also the sizes.
    relation: also the relation.
    right: all of it at once.
    """

    count: bool
    colour: bool
    form: bool
    things: bool
    size: bool
    relation: bool
    right: bool


def detect_things(pixels: npt.NDArray[np.uint8]) -> list[DetectedThing]:
    """The things in a picture of (size, size, 3) uint8, from left to right. Raises ValueError for other arrays."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] != pixels.shape[1]:
        raise ValueError(f"things are detected in an array of the shape (size, size, 3), not {pixels.shape}")
    image = pixels.astype(np.float64)
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    away = image - np.median(rim, axis=0)  # a model may miss the exact background: take the picture's own
    labels = components(np.linalg.norm(away, axis=2) > _FOREGROUND)
    found = []
    for label in range(1, int(labels.max()) + 1):
        thing = _identify(image, away, labels, label)
        if thing is not None:
            found.append(thing)
    return sorted(found, key=lambda thing: thing.x)


def check_caption(pixels: npt.NDArray[np.uint8], caption: str) -> CaptionCheck:
    """Check a caption against a picture (size, size, 3) uint8. Raises ValueError for a caption outside the grammar."""
    scene, found = parse(caption), detect_things(pixels)
    wanted = scene.things
    pairs = Counter((thing.colour, thing.form) for thing in wanted)
    matches = list(_matches(wanted, found)) if len(wanted) == len(found) else []
    sized = [match for match in matches if _sizes_hold(wanted, match)]
    return CaptionCheck(
        count=len(wanted) == len(found),
        colour=Counter(thing.colour for thing in wanted) == Counter(thing.colour for thing in found),
        form=Counter(thing.form for thing in wanted) == Counter(thing.form for thing in found),
        things=pairs == Counter((thing.colour, thing.form) for thing in found),
        size=bool(sized),
        relation=any(_relation_holds(scene, match) for match in matches),
        right=any(_relation_holds(scene, match) for match in sized),
    )


def components(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number the connected regions of a mask (H, W) from 1; neighbours share an edge. 0 is outside."""
    labels = np.zeros(mask.shape, dtype=np.int64)
    height, width = mask.shape
    free = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    label = 0
    for y in range(height):
        for x in range(width):
            if (y, x) not in free:
                continue
            label += 1
            free.remove((y, x))
            edge = [(y, x)]
            while edge:
                here = edge.pop()
                labels[here] = label
                for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    there = (here[0] + step[0], here[1] + step[1])
                    if there in free:
                        free.remove(there)
                        edge.append(there)
    return labels


def _identify(
    image: npt.NDArray[np.float64],
    away: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    label: int,
) -> DetectedThing | None:
    """The thing that one region shows; None for a speck."""
    side = len(labels)
    region = labels == label
    if region.sum() < _LEAST_AREA * side * side:
        return None
    # The pixels furthest from the background are those the thing covers whole: their median is its colour.
    far = np.linalg.norm(away, axis=2)
    core = region & (far >= np.quantile(far[region], 0.75))
    colour = np.median(image[core], axis=0)
    towards = np.median(away[core], axis=0)
    # How much of each pixel is covered, to a fraction, also in the rim that fell below the threshold.
    covered = np.clip(away @ towards / (towards @ towards), 0, 1) * (_grown(region) & ((labels == 0) | region))
    weight = covered.sum()
    centres = (np.arange(side) + 0.5) / side
    x, y = float(covered.sum(axis=0) @ centres / weight), float(covered.sum(axis=1) @ centres / weight)
    form, radius, middle = _best_form(covered, x, y)
    name, distance = min(
        ((name, float(np.linalg.norm(colour - np.array(value)))) for name, value in COLOURS.items()),
        key=lambda pair: pair[1],
    )
    size = "large" if radius > _LARGE else "small"
    return DetectedThing(name if distance < _COLOUR_LIMIT else UNCLEAR, form, size, x, middle)


def _best_form(covered: npt.NDArray[np.float64], x: float, y: float) -> tuple[str, float, float]:
    """The form that overlaps best when drawn with the same area and centre of mass: (form, radius, y of its centre)."""
    side = len(covered)
    best = (0.0, UNCLEAR, 0.0, y)
    for form in FORMS:
        radius = float(np.sqrt(covered.sum() / AREA[form])) / side
        middle = y - MASS_OFFSET[form] * radius
        template = coverage(form, x, middle, radius, side)
        overlap = float(np.minimum(template, covered).sum() / np.maximum(template, covered).sum())
        best = max(best, (overlap, form, radius, middle))
    overlap, form, radius, middle = best
    return (form if overlap >= _FORM_LIMIT else UNCLEAR), radius, middle


def _grown(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The region and every pixel that touches it."""
    padded = np.pad(region, 1)
    height, width = region.shape
    grown = np.zeros_like(region)
    for dy, dx in np.ndindex(3, 3):
        grown |= padded[dy : dy + height, dx : dx + width]
    return grown


def _matches(wanted: Sequence[Thing], found: list[DetectedThing]) -> Iterator[tuple[DetectedThing, ...]]:
    """Every assignment of the things found to the things of the caption, in the order of the caption."""
    for match in permutations(found):
        if all((a.colour, a.form) == (b.colour, b.form) for a, b in zip(wanted, match, strict=True)):
            yield match


def _sizes_hold(wanted: Sequence[Thing], match: tuple[DetectedThing, ...]) -> bool:
    return all(thing.size in (None, detected.size) for thing, detected in zip(wanted, match, strict=True))


def _relation_holds(scene: ShapeScene, match: tuple[DetectedThing, ...]) -> bool:
    """Whether the relation is true, and its direction is the one in which the two things are further apart."""
    if scene.relation in (None, "and"):
        return True
    dx, dy = match[0].x - match[1].x, match[0].y - match[1].y
    along, across = (dx, dy) if scene.relation in ("left of", "right of") else (dy, dx)
    sign = -1 if scene.relation in ("left of", "above") else 1
    return along * sign > abs(across)
