"""The contact sheet: many pictures on one page, with captions below and labels at the left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from unstir.image.png import Pixels, check_pixels
from unstir.image.text_mask import TextMask, line_height
from unstir.image.typesetting import text_width, wrapped

Background: TypeAlias = Literal["checker", "white", "transparent"] | tuple[int, int, int]

_CHECKER = (255, 232)  # grey levels, near enough to each other not to compete with the picture
_CHECKER_SIDE = 8  # px
_CAPTION_WIDTH = 96  # px: cells of narrower pictures are widened to this if their captions need it
_LABEL_WIDTH = 140  # px at most; longer row labels are wrapped
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

    pictures: uint8 (H, W, 3 | 4), straight alpha; smaller ones are centred in cells of equal size.
    columns: None chooses a number that fills the rows, or that gives as many rows as there are row labels.
    captions: one a picture, below it, at most two lines. An empty text takes no space.
    rows: one label a row, at the left.
    scale: whole number >= 1 by which every pixel is repeated.
    gap: px between the cells and around the page.
    background: "checker" is a white page with a checkerboard under each picture, which shows transparency;
        "transparent" keeps the alpha of the pictures; else the colour of the page, over which they are laid.

    Returns uint8 (H, W, 3), or (H, W, 4) for "transparent".
    Raises ValueError if there is no picture, or if the numbers of pictures, captions, rows and columns do not agree.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    if columns is None:
        columns = _columns_for(len(pictures)) if not rows else math.ceil(len(pictures) / len(rows))
    grid = Grid.fitting(pictures, columns, captions or [], rows or [], scale, gap)
    return grid.draw(pictures, captions, rows, background)


@dataclass(frozen=True)
class Grid:
    """The cells of a sheet; lengths in px. Columns of sheets on the same grid are aligned."""

    columns: int
    cell_width: int
    cell_height: int
    label_width: int  # 0: no labels
    font_size: int
    scale: int
    gap: int

    @classmethod
    def fitting(
        cls,
        pictures: Sequence[Pixels],
        columns: int,
        captions: Sequence[str],
        labels: Sequence[str],
        scale: int = 1,
        gap: int = 4,
    ) -> "Grid":
        """The grid whose cells hold all these pictures, captions and labels."""
        if columns < 1 or scale < 1 or gap < 0:
            raise ValueError(f"columns and scale must be >= 1 and gap >= 0, not {columns}, {scale} and {gap}")
        width = scale * max(check_pixels(picture).shape[1] for picture in pictures)
        height = scale * max(picture.shape[0] for picture in pictures)
        size = min(max(width // 12, 11), 18)
        widest = max((text_width(caption, size) for caption in captions), default=0)
        label = max((text_width(label, size) for label in labels), default=0)
        return cls(
            columns=columns,
            cell_width=max(width, min(widest, _CAPTION_WIDTH)),
            cell_height=height,
            label_width=min(label, _LABEL_WIDTH),
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

    def draw(
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
        lines = [wrapped(text, self.cell_width, _CAPTION_LINES, self.font_size) for text in captions or []]
        tops = self._tops(count, lines)
        canvas, ink = _page(tops[-1], self.width, background)
        texts = TextMask(tops[-1], self.width)
        for number, picture in enumerate(pictures):
            row, column = divmod(number, self.columns)
            big = enlarge(check_pixels(picture), self.scale)
            top = tops[row] + (self.cell_height - big.shape[0]) // 2
            left = self.left(column) + (self.cell_width - big.shape[1]) // 2
            cell = canvas[top : top + big.shape[0], left : left + big.shape[1]]
            cell[...] = with_alpha(big) if background == "transparent" else composite(big, _ground(cell, background))
            if lines:
                below = tops[row] + self.cell_height + self.font_size // 4
                texts.write(lines[number], self.left(column) + self.cell_width / 2, below, self.font_size, "center")
        for top, label in zip(tops, rows or [], strict=False):
            most = max(1, self.cell_height // line_height(self.font_size))
            text = wrapped(label, self.label_width, most, self.font_size)
            y = top + (self.cell_height - len(text) * line_height(self.font_size)) / 2
            texts.write(text, self.gap + self.label_width, max(y, 0), self.font_size, "right")
        return texts.over(canvas, ink)

    def _tops(self, rows: int, texts: Sequence[list[str]]) -> list[int]:
        """Top edges of the rows' cells, and last the height of the page."""
        tops = [self.gap]
        for row in range(rows):
            lines = max((len(text) for text in texts[row * self.columns : (row + 1) * self.columns]), default=0)
            caption = lines * line_height(self.font_size) + self.font_size // 4 if lines else 0
            tops.append(tops[-1] + self.cell_height + caption + self.gap)
        return tops


def enlarge(picture: Pixels, scale: int) -> Pixels:
    """Repeat every pixel `scale` times in both directions: (H, W, C) -> (scale·H, scale·W, C)."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def composite(picture: Pixels, ground: Pixels) -> Pixels:
    """Lay a picture (H, W, 3 | 4) over an opaque ground (H, W, 3), rounded to nearest. Returns (H, W, 3)."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[:, :, 3:].astype(np.uint16)
    return ((picture[:, :, :3] * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def _columns_for(count: int) -> int:
    """The smallest divisor of `count` from its square root to twice that, else the root rounded up."""
    root = math.ceil(math.sqrt(count))
    return next((columns for columns in range(root, int(2 * math.sqrt(count)) + 1) if count % columns == 0), root)


def _page(height: int, width: int, background: Background) -> tuple[Pixels, tuple[int, int, int]]:
    """An empty page, and a colour of text that is readable on it."""
    if background == "transparent":
        return np.zeros((height, width, 4), np.uint8), (128, 128, 128)  # readable on black and on white
    colour = (255, 255, 255) if isinstance(background, str) else background
    red, green, blue = colour
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # ITU-R BT.709
    ink = (48, 48, 48) if luminance > 128 else (235, 235, 235)
    return np.full((height, width, 3), colour, np.uint8), ink


def _ground(cell: Pixels, background: Background) -> Pixels:
    """What shows through a picture in this part of the page."""
    if background != "checker":
        return cell
    rows, columns = np.ogrid[: cell.shape[0], : cell.shape[1]]
    odd = (rows // _CHECKER_SIDE + columns // _CHECKER_SIDE) % 2
    return np.repeat(np.array(_CHECKER, np.uint8)[odd][:, :, None], 3, axis=2)


def with_alpha(picture: Pixels) -> Pixels:
    """(H, W, 3 | 4) -> (H, W, 4)."""
    if picture.shape[2] == 4:
        return picture
    return np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)
