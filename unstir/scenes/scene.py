"""A scene: transparent drawings, where each is placed, and the caption that names them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SLOTS = 4
"""The most drawings in one scene."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of the side."""


@dataclass(frozen=True)
class Drawing:
    """What is known of one transparent picture.

    name, synonyms: of what it shows.
    phrase: the words for its style in captions.
    style: the id of its style; a scene has one style only.
    box: bounding box of the visible pixels, left, top, right, bottom, as fractions of the side.
    thing: whether it shows an object that can be counted and placed beside another.
    dark: whether it is black on a transparent background.
    """

    name: str
    synonyms: tuple[str, ...]
    phrase: str
    style: str
    box: Box
    thing: bool
    dark: bool


class Placed(NamedTuple):
    """A drawing in a scene: canvas = scale · picture + (x, y).

    row: of the drawing.
    scale, x, y: as fractions of the side.
    """

    row: int
    scale: float
    x: float
    y: float


class NamedThing(NamedTuple):
    """A thing that a caption names, and where it is.

    first, end: the words of the caption, separated by spaces, from `first` to before `end`.
    x, y: its centre, or the mean of the centres of several, as fractions of the side.
    scale: of the drawing.
    """

    first: int
    end: int
    x: float
    y: float
    scale: float


class Scene(NamedTuple):
    """A planned scene.

    caption: of the scene.
    placed: 1 to SLOTS drawings, later ones on top.
    background: RGB, or None for a transparent one.
    named_things: which words of the caption name which thing.
    """

    caption: str
    placed: tuple[Placed, ...]
    background: tuple[int, int, int] | None
    named_things: tuple[NamedThing, ...] = ()


def drawn_box(alpha: npt.NDArray[np.uint8]) -> Box:
    """The bounding box of the visible pixels, as fractions of the side; the whole picture where none is visible.

    alpha: (H, W).
    """
    rows, columns = np.flatnonzero(alpha.max(1) > 8), np.flatnonzero(alpha.max(0) > 8)
    if not len(rows):
        return 0.0, 0.0, 1.0, 1.0
    height, width = alpha.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
