"""The pre-flight: look at every picture and caption before training, since afterwards is too late."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from unstir.data.entry import Entry, Problem, Source
from unstir.data.transforms import decode, has_alpha

SIZES = (32, 48, 64, 96, 128)
"""The sides a model may be trained at, for `Report.suggested_size`."""

SHOWN = 20
"""How many problems `Report.lines` spells out."""

SMALL = 32
"""A shorter side below this is called very small, in pixels."""


@dataclass(frozen=True)
class Report:
    """What the pre-flight saw. Sides and words are (least, median, most); shares are counts of usable pictures.

    pictures: the entries of the source.  usable: those of them that decode.
    problems: what the source left out, then what does not decode.
    duplicates: groups of keys whose decoded pixels are equal, each sorted.
    same_captions: pictures whose caption another picture has too, apart from upper and lower case.
    small: keys with a shorter side below 32 pixels.  one_colour: keys of pictures of one single colour.
    """

    name: str
    layout: str
    pictures: int
    usable: int
    problems: tuple[Problem, ...]
    shorter_side: tuple[int, int, int]
    longer_side: tuple[int, int, int]
    transparent: int
    duplicates: tuple[tuple[str, ...], ...]
    same_captions: int
    caption_words: tuple[int, int, int]
    distinct_words: int
    small: tuple[str, ...]
    one_colour: tuple[str, ...]

    def suggested_size(self) -> int:
        """The largest of SIZES not above the median shorter side, and at least the smallest of them."""
        return max((size for size in SIZES if size <= self.shorter_side[1]), default=SIZES[0])

    def lines(self) -> list[str]:
        """The report in sentences, one a line; what needs a look comes last."""
        lines = [
            f"{self.name} ({self.layout}): {self.usable} of {self.pictures} captioned pictures can be used.",
            "Shorter side {} to {} pixels, median {}; ".format(*_ends_first(self.shorter_side))
            + f"train at {self.suggested_size()} to begin with.",
            f"{_share(self.transparent, self.usable)} of the pictures have transparency.",
            "Captions have {} to {} words, median {}; ".format(*_ends_first(self.caption_words))
            + f"{self.distinct_words} distinct words.",
        ]
        if self.same_captions:
            lines.append(f"{self.same_captions} pictures share their caption with another picture.")
        if self.duplicates:
            extra = sum(len(group) - 1 for group in self.duplicates)
            lines.append(f"{extra} pictures are exact copies of another, as {' = '.join(self.duplicates[0][:3])}.")
        if self.small:
            lines.append(f"{len(self.small)} pictures are smaller than {SMALL} pixels, as {_some(self.small)}.")
        if self.one_colour:
            lines.append(f"{len(self.one_colour)} pictures are of one single colour, as {_some(self.one_colour)}.")
        lines.extend(f"{problem.key}: {problem.what}" for problem in self.problems[:SHOWN])
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more problems.")
        return lines


@dataclass(frozen=True)
class _Look:
    """What is kept of one decoded picture."""

    key: str
    size: tuple[int, int]
    transparent: bool
    one_colour: bool
    digest: bytes


def check(source: Source) -> Report:
    """Decode every picture of a source and report. Broken ones become problems; nothing raises."""
    looks: list[_Look] = []
    broken: list[Problem] = []
    captions: list[str] = []
    for entry in source.entries:
        try:
            looks.append(_look(entry))
            captions.append(entry.caption)
        except ValueError as error:
            broken.append(Problem(entry.key, str(error)))
        except OSError as error:
            broken.append(Problem(entry.key, f"The picture cannot be read ({error.strerror or error})."))
    same = Counter(caption.casefold() for caption in captions)
    words = [caption.casefold().split() for caption in captions]
    copies: dict[bytes, list[str]] = {}
    for look in looks:
        copies.setdefault(look.digest, []).append(look.key)
    return Report(
        name=source.name,
        layout=source.layout,
        pictures=len(source.entries),
        usable=len(looks),
        problems=(*source.problems, *broken),
        shorter_side=_spread([min(look.size) for look in looks]),
        longer_side=_spread([max(look.size) for look in looks]),
        transparent=sum(look.transparent for look in looks),
        duplicates=tuple(tuple(sorted(keys)) for keys in copies.values() if len(keys) > 1),
        same_captions=sum(count for count in same.values() if count > 1),
        caption_words=_spread([len(caption) for caption in words]),
        distinct_words=len({word.strip(".,;:!?\"'()") for caption in words for word in caption} - {""}),
        small=tuple(look.key for look in looks if min(look.size) < SMALL),
        one_colour=tuple(look.key for look in looks if look.one_colour),
    )


def _look(entry: Entry) -> _Look:
    """Decode one picture and keep what the report needs. Raises ValueError (broken) or OSError (gone)."""
    image = decode(entry.read())
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0  # the colour of what cannot be seen makes no difference
    return _Look(
        entry.key,
        image.size,
        has_alpha(image),
        bool((pixels == pixels[0, 0]).all()),
        hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).digest(),
    )


def _spread(values: list[int]) -> tuple[int, int, int]:
    return (min(values), median_low(values), max(values)) if values else (0, 0, 0)


def _ends_first(spread: tuple[int, int, int]) -> tuple[int, int, int]:
    return spread[0], spread[2], spread[1]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
