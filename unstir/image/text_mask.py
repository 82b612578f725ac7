"""Small text on pictures."""

import numpy as np
from PIL import Image, ImageDraw

from unstir.image.fonts import PILLOW_FONT
from unstir.image.png import Pixels
from unstir.image.typesetting import clean, typeset


class TextMask:
    """Text collected on one mask, then laid over a picture in one colour.

    A mask, because Pillow would blend the edges of letters with the black under transparent pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._mask = Image.new("L", (width, height))
        self._draw = ImageDraw.Draw(self._mask)

    def write(self, lines: list[str], x: float, y: float, size: int, align: str = "left") -> None:
        """Write lines downwards.

        x: their left edge, centre ("center") or right edge ("right"), in px.
        y: the upper edge of the first, in px.
        size: of the font, in px.
        """
        ascent, _ = PILLOW_FONT.face(size).getmetrics()
        for number, text in enumerate(lines):
            line = typeset(clean(text), size)
            left = round(x - line.width * {"left": 0, "center": 0.5, "right": 1}[align])
            baseline = round(y) + number * line_height(size) + ascent  # fonts differ in ascent, so not the upper edge
            for run in line.runs:
                self._draw.text(
                    (left + round(run.x), baseline),
                    run.text,
                    fill=255,
                    font=run.font.face(size),
                    anchor="ls",
                    direction=run.direction,
                )

    def over(self, canvas: Pixels, colour: tuple[int, int, int]) -> Pixels:
        """Lay the text over a canvas (H, W, 3 | 4) that is empty, or opaque, where the text goes."""
        ink = np.asarray(self._mask)[:, :, None].astype(np.uint16)
        paint = np.broadcast_to(np.array(colour, np.uint16), (*canvas.shape[:2], 3))
        if canvas.shape[2] == 4:
            rgb = np.where(ink > 0, paint, canvas[:, :, :3])
            return np.concatenate([rgb, np.maximum(canvas[:, :, 3:], ink)], axis=2).astype(np.uint8)
        return ((paint * ink + canvas * (255 - ink) + 127) // 255).astype(np.uint8)


def line_height(size: int) -> int:
    """Distance (px) from one line to the next."""
    return round(1.3 * size)
