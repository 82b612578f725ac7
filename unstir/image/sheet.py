"""The contact sheet: many pictures on one page, with captions below and labels at the left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from unstir.image.lettering import Lettering, line_height, text_width, wrapped
from unstir.image.png import Pixels, checked

Background: TypeAlias = Literal["checker", "white", "transparent"] | tuple[int, int, int]

_CHECKER = (255, 232)  # grey levels, near enough to each other not to compete with the picture
_CHECKER_SIDE = 8  # px
_CAPTION_ROOM = 96  # px: narrower pictures are set apart until their captions have this much
_LABEL_ROOM = 140  # px: longer row labels are wrapped
_CAPTION_LINES = 2


def sheet(
    pictures: Sequence[Pixels],
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    scale: int = 1,
    gap: int = 4,
    background: Background = "white",
) -> Pixels:
    """Put pictures on one page, row by row.

    pictures: uint8 (H, W, 3 | 4), straight alpha; of different sizes if need be, then centred in equal cells.
    columns: None finds a number that fills the rows, or that gives as many rows as there are row labels.
    captions: one a picture, below it, at most two lines. rows: one a row, at the left. An empty text takes no room.
    scale: whole number >= 1 by which every pixel is repeated. gap: px between the cells and around the page.
    background: "checker" is a white page with a checkerboard under each picture, which shows transparency;
        "transparent" keeps the pictures as they are; else the colour of the page, which shows through.

    Returns uint8 (H, W, 3), or (H, W, 4) for "transparent".
    Raises ValueError if there is no picture or the numbers of things do not fit together.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    if columns is None:
        columns = _columns_for(len(pictures)) if not rows else math.ceil(len(pictures) / len(rows))
    grid = Grid.around(pictures, columns, captions or [], rows or [], scale, gap)
    return grid.drawn(pictures, captions, rows, background)


@dataclass(frozen=True)
class Grid:
    """Where the cells of a sheet lie; all in px. Sheets drawn on the same grid stand exactly below one another."""

    columns: int
    cell_width: int
    cell_height: int
    label_width: int  # 0: no labels
    font_size: int
    scale: int
    gap: int

    @classmethod
    def around(
        cls,
        pictures: Sequence[Pixels],
        columns: int,
        captions: Sequence[str],
        labels: Sequence[str],
        scale: int = 1,
        gap: int = 4,
    ) -> "Grid":
        """Find the grid on which all these pictures, captions and labels have room."""
        if columns < 1 or scale < 1 or gap < 0:
            raise ValueError(f"columns and scale must be >= 1 and gap >= 0, not {columns}, {scale} and {gap}")
        width = scale * max(checked(picture).shape[1] for picture in pictures)
        height = scale * max(picture.shape[0] for picture in pictures)
        size = min(max(width // 12, 11), 18)
        wish = max((text_width(caption, size) for caption in captions), default=0)
        label = max((text_width(label, size) for label in labels), default=0)
        return cls(
            columns=columns,
            cell_width=max(width, min(wish, _CAPTION_ROOM)),
            cell_height=height,
            label_width=min(label, _LABEL_ROOM),
            font_size=size,
            scale=scale,
            gap=gap,
        )

    @property
    def width(self) -> int:
        """Width of the page."""
        return self.left(self.columns)

    def left(self, column: int) -> int:
        """Left edge of a column's cells."""
        label = self.label_width + self.font_size // 2 if self.label_width else 0
        return self.gap + label + column * (self.cell_width + self.gap)

    def drawn(
        self,
        pictures: Sequence[Pixels],
        captions: Sequence[str] | None = None,
        rows: Sequence[str] | None = None,
        background: Background = "white",
    ) -> Pixels:
        """Draw a sheet on this grid; the arguments are those of `sheet`."""
        count = math.ceil(len(pictures) / self.columns)
        if captions is not None and len(captions) != len(pictures):
            raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
        if rows is not None and len(rows) != count:
            raise ValueError(f"{len(rows)} row labels for {count} rows")
        texts = [wrapped(text, self.cell_width, _CAPTION_LINES, self.font_size) for text in captions or []]
        tops = self._tops(count, texts)
        canvas, ink = _page(tops[-1], self.width, background)
        letters = Lettering(tops[-1], self.width)
        for number, picture in enumerate(pictures):
            row, column = divmod(number, self.columns)
            big = enlarged(checked(picture), self.scale)
            top = tops[row] + (self.cell_height - big.shape[0]) // 2
            left = self.left(column) + (self.cell_width - big.shape[1]) // 2
            place = canvas[top : top + big.shape[0], left : left + big.shape[1]]
            place[...] = with_alpha(big) if background == "transparent" else over(big, _ground(place, background))
            if texts:
                below = tops[row] + self.cell_height + self.font_size // 4
                letters.write(texts[number], self.left(column) + self.cell_width / 2, below, self.font_size, "center")
        for top, label in zip(tops, rows or [], strict=False):
            lines = max(1, self.cell_height // line_height(self.font_size))
            text = wrapped(label, self.label_width, lines, self.font_size)
            y = top + (self.cell_height - len(text) * line_height(self.font_size)) / 2
            letters.write(text, self.gap + self.label_width, max(y, 0), self.font_size, "right")
        return letters.over(canvas, ink)

    def _tops(self, rows: int, texts: Sequence[list[str]]) -> list[int]:
        """Top edges of the rows' cells, and behind them the height of the page."""
        tops = [self.gap]
        for row in range(rows):
            lines = max((len(text) for text in texts[row * self.columns : (row + 1) * self.columns]), default=0)
            caption = lines * line_height(self.font_size) + self.font_size // 4 if lines else 0
            tops.append(tops[-1] + self.cell_height + caption + self.gap)
        return tops


def enlarged(picture: Pixels, scale: int) -> Pixels:
    """Repeat every pixel `scale` times in both directions: (H, W, C) -> (scale·H, scale·W, C)."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def over(picture: Pixels, ground: Pixels) -> Pixels:
    """Lay a picture (H, W, 3 | 4) over an opaque ground (H, W, 3), rounding to nearest; returns (H, W, 3)."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[:, :, 3:].astype(np.uint16)
    return ((picture[:, :, :3] * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def _columns_for(count: int) -> int:
    """The first divisor of `count` that is at least its root and not much more, else the root rounded up."""
    root = math.ceil(math.sqrt(count))
    return next((columns for columns in range(root, int(2 * math.sqrt(count)) + 1) if count % columns == 0), root)


def _page(height: int, width: int, background: Background) -> tuple[Pixels, tuple[int, int, int]]:
    """An empty page, and a colour of ink that can be read on it."""
    if background == "transparent":
        return np.zeros((height, width, 4), np.uint8), (128, 128, 128)  # it may end up on black or on white
    colour = (255, 255, 255) if isinstance(background, str) else background
    red, green, blue = colour
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # ITU-R BT.709
    ink = (48, 48, 48) if luminance > 128 else (235, 235, 235)
    return np.full((height, width, 3), colour, np.uint8), ink


def _ground(place: Pixels, background: Background) -> Pixels:
    """What lies under a picture at this place of the page."""
    if background != "checker":
        return place
    rows, columns = np.ogrid[: place.shape[0], : place.shape[1]]
    odd = (rows // _CHECKER_SIDE + columns // _CHECKER_SIDE) % 2
    return np.repeat(np.array(_CHECKER, np.uint8)[odd][:, :, None], 3, axis=2)


def with_alpha(picture: Pixels) -> Pixels:
    """(H, W, 3 | 4) -> (H, W, 4)."""
    if picture.shape[2] == 4:
        return picture
    return np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)
