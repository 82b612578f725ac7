"""The pre-flight: look at every picture and caption before training, since afterwards is too late."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from PIL import Image

from unstir.data.entry import Problem, Source
from unstir.data.pictures import decoded
from unstir.data.transforms import has_alpha

SIZES = (32, 48, 64, 96, 128)
"""The sides a model may be trained at, for `Report.suggested_size`."""

SHOWN = 20
"""How many problems `Report.lines` spells out, unless told otherwise."""

SMALL = 32
"""A shorter side below this is called very small, in pixels."""

CUT = 0.2
"""An opaque picture is called oblong when its square crop loses more than this share of it."""


@dataclass(frozen=True)
class Report:
    """What the pre-flight saw. Sides and words are (least, median, most); shares are counts of usable pictures.

    pictures: the entries of the source.  usable: those of them that decode.
    problems: what the source left out, then what does not decode.
    duplicates: groups of keys whose decoded pixels are equal, each sorted.
    same_captions: pictures whose caption another picture has too, apart from upper and lower case.
    small: keys with a shorter side below 32 pixels.  one_colour: keys of pictures of one single colour.
    oblong: keys of opaque pictures that lose more than a fifth to the square crop (`transforms.fit`).
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
    oblong: tuple[str, ...]

    @property
    def cropped(self) -> int:
        """How many opaque pictures lose more than a fifth to the square crop."""
        return len(self.oblong)

    def suggested_size(self) -> int:
        """The largest of SIZES not above the median shorter side, and at least the smallest of them."""
        return max((size for size in SIZES if size <= self.shorter_side[1]), default=SIZES[0])

    def lines(self, shown: int | None = SHOWN) -> list[str]:
        """The report in sentences, one a line; what needs a look comes last.

        shown: how many problems to spell out, None for all.
        """
        lines = [f"{self.name} ({self.layout}): {self.usable} of {self.pictures} captioned pictures can be used."]
        if self.usable:
            lines += self._of_the_usable()
        lines += [f"{problem.key}: {problem.what}" for problem in self.problems[:shown]]
        if shown is not None and len(self.problems) > shown:
            lines.append(f"... and {len(self.problems) - shown} more problems; `unstir check` names them all.")
        return lines

    def _of_the_usable(self) -> list[str]:
        """The sentences about the pictures that decode, of which there must be some."""
        lines = [
            "Shorter side {} to {} pixels, median {}; ".format(*_ends_first(self.shorter_side))
            + f"the pictures allow training at {self.suggested_size()} pixels.",
            f"{100 * self.transparent / self.usable:.0f} % of the pictures have transparency.",
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
        if self.oblong:
            which = _some(self.oblong)
            lines.append(f"{self.cropped} opaque pictures lose more than a fifth to the square crop, as {which}.")
        return lines


@dataclass(frozen=True)
class _Look:
    """What is kept of one decoded picture."""

    size: tuple[int, int]
    transparent: bool
    one_colour: bool
    digest: bytes


def check(source: Source, progress: Callable[[int, int], None] | None = None, workers: int = 2) -> Report:
    """Decode every picture of a source and report. Broken ones become problems.

    progress: called with (done, total).  workers: decoding threads; the report does not depend on them.
    Raises ValueError for less than one worker, and nothing else.
    """
    looks: dict[str, _Look] = {}
    broken: list[Problem] = []
    captions: list[str] = []
    for done, (entry, result) in enumerate(decoded(source.entries, _look, workers), 1):
        if isinstance(result, Problem):
            broken.append(result)
        else:
            looks[entry.key] = result
            captions.append(entry.caption)
        if progress is not None:
            progress(done, len(source.entries))
    same = Counter(caption.casefold() for caption in captions)
    words = [caption.casefold().split() for caption in captions]
    copies: dict[bytes, list[str]] = {}
    for key, look in looks.items():
        copies.setdefault(look.digest, []).append(key)
    return Report(
        name=source.name,
        layout=source.layout,
        pictures=len(source.entries),
        usable=len(looks),
        problems=(*source.problems, *broken),
        shorter_side=_spread([min(look.size) for look in looks.values()]),
        longer_side=_spread([max(look.size) for look in looks.values()]),
        transparent=sum(look.transparent for look in looks.values()),
        duplicates=tuple(tuple(sorted(keys)) for keys in copies.values() if len(keys) > 1),
        same_captions=sum(count for count in same.values() if count > 1),
        caption_words=_spread([len(caption) for caption in words]),
        distinct_words=len({word.strip(".,;:!?\"'()") for caption in words for word in caption} - {""}),
        small=tuple(key for key, look in looks.items() if min(look.size) < SMALL),
        one_colour=tuple(key for key, look in looks.items() if look.one_colour),
        oblong=tuple(key for key, look in looks.items() if not look.transparent and _lost(look.size) > CUT),
    )


def _look(image: Image.Image) -> _Look:
    """Keep of a decoded picture what the report needs."""
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0  # the colour of what cannot be seen makes no difference
    return _Look(
        image.size,
        has_alpha(image),
        bool((pixels == pixels[0, 0]).all()),
        hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).digest(),
    )


def _lost(size: tuple[int, int]) -> float:
    """The share of a picture that its centre square leaves out."""
    return (max(size) - min(size)) / max(size)


def _spread(values: list[int]) -> tuple[int, int, int]:
    return (min(values), median_low(values), max(values)) if values else (0, 0, 0)


def _ends_first(spread: tuple[int, int, int]) -> tuple[int, int, int]:
    return spread[0], spread[2], spread[1]


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
