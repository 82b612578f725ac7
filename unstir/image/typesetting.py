"""Captions as lines of text runs: the font of each run, its direction and position, and where lines break."""

import itertools
import math
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from anyascii import anyascii

from unstir.image.fonts import JOINERS, PILLOW_FONT, Font, can_shape, system_fonts

LONGEST = 500
"""Characters; the rest of a caption is not drawn."""

# Drawn as ASCII on every machine, whatever fonts it has.
_SIGNS = str.maketrans({"×": "x", **dict.fromkeys("‐‑‒–—―−", "-")})
_VARIATION_SELECTORS = re.compile("[\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_KANA, _HANGUL = re.compile("[\u3040-\u30ff\uff66-\uff9f]"), re.compile("[\u1100-\u11ff\uac00-\ud7af]")
_BOPOMOFO = re.compile("[\u3100-\u312f]")
# Scripts whose letters are joined or reordered: Arabic and its neighbours, those of India, Tibetan, Burmese, Khmer.
_SHAPED = re.compile("[\u0590-\u0dff\u0f00-\u109f\u1780-\u18af\ufb1d-\ufdff\ufe70-\ufefc]")
_WORD_SPACE = 0.3  # of the font size; the 0.2 of the built-in font are 2 px in small captions, hardly visible


@dataclass(frozen=True)
class TextRun:
    """Characters of one font that are drawn together.

    direction: for Pillow; None lets Pillow decide.
    x: left edge in px, from the left edge of the line.
    """

    text: str
    font: Font
    direction: Literal["rtl"] | None = None
    x: float = 0.0


@dataclass(frozen=True)
class TextLine:
    """Runs from left to right, and the width of the line in px."""

    runs: tuple[TextRun, ...]
    width: float


def clean(text: str) -> str:
    """The text on one line, in composed form, without format characters such as direction marks."""
    text = unicodedata.normalize("NFC", text[:LONGEST]).translate(_SIGNS)
    text = " ".join(_VARIATION_SELECTORS.sub("", text).split())
    return "".join(letter for letter in text if letter in JOINERS or unicodedata.category(letter) != "Cf")


@lru_cache(4096)
def typeset(text: str, size: int) -> TextLine:
    """Lay out one line at a size in px.

    text: as `clean` returns it.

    A word is drawn with the first font that has all of its characters, the built-in one first, then the system's.
    If no font has all, each character is drawn with the first font that has it; if none has it, it is transliterated to
    ASCII, and "?" replaces what has no transliteration.
    Words of right-to-left scripts are ordered by the bidirectional algorithm of Unicode, without embeddings.
    """
    fonts = () if PILLOW_FONT.has(text) else system_fonts(_language(text))
    words = [word for word in (_runs(word, fonts, size) for word in text.split(" ")) if word]
    known = [_is_rtl("".join(run.text for run in word)) for word in words]
    base = next((side for side in known if side is not None), False)
    space = max(1, round(_WORD_SPACE * size))
    placed: list[TextRun] = []
    x = 0.0
    for word in _visual_order(words, _resolved(known, base), base):
        x += space if placed else 0
        for run in word:
            placed.append(replace(run, x=x))
            x += run.font.face(size).getlength(run.text, direction=run.direction)
    return TextLine(tuple(placed), x)


def text_width(text: str, size: int) -> int:
    """Width (px) of one line."""
    return math.ceil(typeset(clean(text), size).width)


def shortened(text: str, width: int, size: int) -> str:
    """The text if it fits in `width` px, else as much of its beginning as does, and an ellipsis."""
    text = clean(text)
    if text_width(text, size) <= width:
        return text
    count = bisect_right(range(len(text)), width, key=lambda end: text_width(text[:end] + "…", size)) - 1
    while count > 0 and (_extends(text[count]) or text_width(text[:count] + "…", size) > width):
        count -= 1
    return text[: max(count, 0)].rstrip() + "…"


def wrapped(text: str, width: int, lines: int, size: int) -> list[str]:
    """Break text into at most `lines` lines of `width` px; what does not fit ends in an ellipsis.

    Lines break at spaces, and between the characters of Chinese and Japanese.
    """
    pieces = _pieces(clean(text))
    done: list[str] = []
    while pieces and len(done) < lines - 1:
        count = 1
        while count < len(pieces) and text_width("".join(pieces[: count + 1]), size) <= width:
            count += 1
        done.append(shortened("".join(pieces[:count]), width, size))
        pieces = pieces[count:]
    return [*done, shortened("".join(pieces), width, size)] if pieces else done


def _pieces(text: str) -> list[str]:
    """The text in pieces between which a line may break; a space is the first character of its piece."""
    pieces: list[str] = []
    for before, letter in itertools.pairwise(f" {text}" if text else ""):
        inside = before != " " and (_wide(before) or _wide(letter)) and not _extends(letter)
        # A closing bracket or a full stop does not begin a line.
        if not pieces or letter == " " or (inside and unicodedata.category(letter) not in ("Pe", "Pf", "Po", "Lm")):
            pieces.append(letter)
        else:
            pieces[-1] += letter
    return pieces


def _wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" and not _HANGUL.match(letter)


def _extends(letter: str) -> bool:
    """Whether a character belongs to the one before it: accents, vowel signs, joiners."""
    return letter in JOINERS or unicodedata.category(letter)[0] == "M"


def _language(text: str) -> str:
    """The language whose fonts are preferred; Han characters alone count as Chinese."""
    for language, pattern in (("ja", _KANA), ("ko", _HANGUL), ("zh-tw", _BOPOMOFO)):
        if pattern.search(text):
            return language
    return "zh-cn" if any("CJK" in unicodedata.name(letter, "") for letter in text) else "en"


def _is_rtl(text: str) -> bool | None:
    """Whether a text is written from right to left, by its first letter; None if it has no letter."""
    for letter in text:
        match unicodedata.bidirectional(letter):
            case "L":
                return False
            case "R" | "AL":
                return True
    return None


def _resolved(known: list[bool | None], base: bool) -> list[bool]:
    """Words without a direction take that of both neighbours, or of the line where these differ (rules N1, N2).

    Source: Unicode Standard Annex 9.
    """
    before, after = _last_known(known, base), _last_known(known[::-1], base)[::-1]
    return [
        side if side is not None else left if left == right else base
        for side, left, right in zip(known, before, after, strict=True)
    ]


def _last_known(known: list[bool | None], base: bool) -> list[bool]:
    """Each entry, or the last one before it that is not None."""
    found: list[bool] = []
    for side in known:
        found.append(side if side is not None else found[-1] if found else base)
    return found


def _visual_order(words: list[list[TextRun]], rtl: list[bool], base: bool) -> list[list[TextRun]]:
    """The words, and the runs of each, from left to right (rule L2 of Unicode Standard Annex 9, for two levels)."""
    groups: list[list[list[TextRun]]] = []
    for reverse, pairs in itertools.groupby(zip(rtl, words, strict=True), key=lambda pair: pair[0]):
        group = [word for _, word in pairs]
        if reverse:
            group = [[_right_to_left(run) for run in reversed(word)] for word in reversed(group)]
        groups.append(group)
    return [word for group in (reversed(groups) if base else groups) for word in group]


def _right_to_left(run: TextRun) -> TextRun:
    """The run with its direction, which Pillow takes only where it can shape, and not with the built-in font."""
    return replace(run, direction="rtl") if run.font != PILLOW_FONT and can_shape() else run


def _runs(word: str, fonts: tuple[Font, ...], size: int) -> list[TextRun]:
    """One word as runs in reading order."""
    whole = _font_for(word, (PILLOW_FONT, *fonts), size)
    if whole is not None:
        return [TextRun(word, whole)] if word else []
    runs: list[TextRun] = []
    for cluster in _clusters(word):
        # The font of the character before comes first, so that the font changes as rarely as possible.
        font = _font_for(cluster, (*(run.font for run in runs[-1:]), PILLOW_FONT, *fonts), size)
        text = cluster if font is not None else _transliterated(cluster)
        font = font or PILLOW_FONT
        if runs and runs[-1].font == font:
            runs[-1] = replace(runs[-1], text=runs[-1].text + text)
        elif text:
            runs.append(TextRun(text, font))
    return runs


def _font_for(text: str, fonts: tuple[Font, ...], size: int) -> Font | None:
    if not can_shape() and _SHAPED.search(text):
        return None  # its letters would not be joined, and in the wrong order
    return next((font for font in fonts if font.has(text) and font.usable(size)), None)


def _clusters(word: str) -> list[str]:
    """The word cut into characters, each with the accents, vowel signs and joiners that follow it."""
    clusters: list[str] = []
    for letter in word:
        if clusters and (_extends(letter) or clusters[-1][-1] in JOINERS):
            clusters[-1] += letter
        else:
            clusters.append(letter)
    return clusters


def _transliterated(cluster: str) -> str:
    """Printable ASCII for a character that no font has; "?" if it is not a letter and has no transliteration."""
    text = "".join(letter for letter in anyascii(cluster) if letter.isprintable())
    silent = all(letter in JOINERS or unicodedata.category(letter)[0] in "LM" for letter in cluster)
    return text or ("" if silent else "?")
