"""Small text on pictures, with the font inside Pillow: no font file is needed, every machine draws the same."""

import math
import unicodedata
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unstir.image.png import Pixels

# The font has ASCII and little else. Signs that Unicode does not decompose itself get their nearest neighbour.
_NEAREST = {"×": "x", "−": "-", "–": "-", "—": "-", "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O"}
_ALSO_DRAWN = "«°±´·»‘’“”…‹›⁄™"
_LONGEST = 500  # characters: a caption is never drawn longer than this, and measuring a whole novel takes a while


class Lettering:
    """Text collected on one mask, then laid over a picture in one colour.

    A mask, because Pillow would blend the edges of letters with the black under transparent pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._mask = Image.new("L", (width, height))
        self._draw = ImageDraw.Draw(self._mask)

    def write(self, lines: list[str], x: float, y: float, size: int, align: str = "left") -> None:
        """Write lines downwards from y (px); x is their left edge, centre ("center") or right edge ("right")."""
        anchor = {"left": "la", "center": "ma", "right": "ra"}[align]
        for number, line in enumerate(lines):
            at = (round(x), round(y) + number * line_height(size))
            self._draw.text(at, drawable(line), fill=255, font=_font(size), anchor=anchor)

    def over(self, canvas: Pixels, colour: tuple[int, int, int]) -> Pixels:
        """Lay the text over a canvas (H, W, 3 | 4) that is empty, or opaque, where the text goes."""
        ink = np.asarray(self._mask)[:, :, None].astype(np.uint16)
        paint = np.broadcast_to(np.array(colour, np.uint16), (*canvas.shape[:2], 3))
        if canvas.shape[2] == 4:
            rgb = np.where(ink > 0, paint, canvas[:, :, :3])
            return np.concatenate([rgb, np.maximum(canvas[:, :, 3:], ink)], axis=2).astype(np.uint8)
        return ((paint * ink + canvas * (255 - ink) + 127) // 255).astype(np.uint8)


def drawable(text: str) -> str:
    """Turn text into what the font has: one line, accents dropped, "?" for a script it does not know."""
    return "".join(map(_drawn_as, " ".join(text[:_LONGEST].split())))


def line_height(size: int) -> int:
    """Distance (px) from one line to the next."""
    return round(1.3 * size)


def text_width(text: str, size: int) -> int:
    """Width (px) of one line."""
    return math.ceil(_font(size).getlength(drawable(text)))


def shortened(text: str, width: int, size: int) -> str:
    """The text if it fits in `width` px, else as much of its beginning as does, and an ellipsis."""
    text = drawable(text)
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: int, lines: int, size: int) -> list[str]:
    """Break text at spaces into at most `lines` lines of `width` px; what does not fit ends in an ellipsis."""
    words = drawable(text).split()
    done: list[str] = []
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        done.append(shortened(" ".join(words[:count]), width, size))
        words = words[count:]
    return [*done, shortened(" ".join(words), width, size)] if words else done


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


@cache
def _drawn_as(sign: str) -> str:
    if " " <= sign <= "~" or sign in _ALSO_DRAWN:
        return sign
    parts = unicodedata.normalize("NFKD", _NEAREST.get(sign, sign))  # é is e and an accent, ﬁ is f and i
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    return plain if plain.isascii() and plain.isprintable() else "?"
