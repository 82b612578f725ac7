"""The fonts of captions: the one inside Pillow, and the system's fonts for characters that it lacks.

The system's fonts come from fontconfig, in its order of preference. Without fontconfig there are none.
"""

import os
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from PIL import ImageFont, features

JOINERS = "\u200c\u200d"
"""Zero width non-joiner and joiner. They change the shape of their neighbours and need no glyph."""

_SECONDS = 20  # for fontconfig to answer; the first time it may have to read every font file
_FORMAT = "%{file}\t%{index}\t%{color}\t%{outline}\t%{charset}\n"


@dataclass(frozen=True)
class Font:
    """One face of a font file, and the characters it has.

    path: "" is the font inside Pillow.
    index: the number of the face in the file.
    firsts, lasts: the code points it has, as ranges in ascending order, ends included.
    """

    path: str
    index: int
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    def has(self, text: str) -> bool:
        """Whether every character of the text has a glyph. Joiners need one only in the font inside Pillow."""
        return all((self.path and letter in JOINERS) or self._covers(ord(letter)) for letter in text)

    def usable(self, size: int) -> bool:
        """Whether the file can be opened at this size."""
        try:
            self.face(size)
        except OSError:
            return False
        return True

    def face(self, size: int) -> ImageFont.FreeTypeFont:
        """The font at a size in px, ready to draw. Raises OSError where the file cannot be read at this size."""
        return _face(self.path, self.index, size)

    def _covers(self, code: int) -> bool:
        at = bisect_right(self.firsts, code) - 1
        return at >= 0 and code <= self.lasts[at]


def font_of(path: str, index: int, ranges: Sequence[tuple[int, int]]) -> Font:
    """A font with the code points of these (first, last) ranges, in any order."""
    ordered = sorted(ranges)
    return Font(path, index, tuple(first for first, _ in ordered), tuple(last for _, last in ordered))


# Pillow packs a part of the font Aileron: ASCII, and of the rest what is listed here.
PILLOW_FONT = font_of("", 0, [(0x20, 0x7E), *((ord(letter), ord(letter)) for letter in "«°±´·»‘’“”…‹›⁄™")])


@cache
def system_fonts(language: str) -> tuple[Font, ...]:
    """The system's sans-serif fonts, the preferred first; none where fontconfig is not installed.

    language: a BCP 47 tag, e.g. "ja"; Han characters have different forms in different languages.
    Fonts of bitmaps and of coloured glyphs (emoji) are left out.
    """
    program = shutil.which("fc-match")
    if program is None:
        return ()
    command = [program, "--sort", f"--format={_FORMAT}", f"sans-serif:lang={language}"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = (_parsed(line) for line in os.fsdecode(done.stdout).splitlines())
    return tuple(font for font in found if font is not None)


@cache
def can_shape() -> bool:
    """Whether Pillow can join and reorder letters, and write from right to left (it needs raqm and FriBiDi)."""
    return bool(features.check("raqm"))


def _parsed(line: str) -> Font | None:
    """The font of one line of `_FORMAT`; None for bitmaps, coloured fonts and lines of another form."""
    fields = line.split("\t")
    if len(fields) != 5:
        return None
    path, index, color, outline, charset = fields
    try:
        ends = [[int(end, 16) for end in part.split("-")] for part in charset.split()]
        number = int(index or 0) & 0xFFFF  # the upper bits name an instance of a variable font
    except ValueError:
        return None
    if not path or color == "True" or outline == "False":
        return None
    return font_of(path, number, [(part[0], part[-1]) for part in ends])


@cache
def _face(path: str, index: int, size: int) -> ImageFont.FreeTypeFont:
    if path:
        return ImageFont.truetype(path, size, index)
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))
