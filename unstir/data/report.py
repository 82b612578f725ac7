"""What is known of a data set before training: sizes, transparency, captions, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.data.entry import Problem

TRAINING_SIZES = (32, 48, 64, 96, 128)
"""The sides in pixels that a model may be trained at, for `Report.suggested_size`."""

SHOWN = 10
"""How many problems are listed unless more are asked for."""

SMALL = 32
"""A picture whose shorter side has fewer pixels is counted as small."""

OBLONG = 0.2
"""An opaque picture is counted as oblong if its square crop leaves out more than this share of it."""


@dataclass(frozen=True)
class Flagged:
    """Pictures that something was noticed of. count: how many.  keys: the first three of them."""

    count: int
    keys: tuple[str, ...]

    def __str__(self) -> str:
        """The keys, with dots where there are more of them."""
        return ", ".join(self.keys) + (", …" if self.count > len(self.keys) else "")


@dataclass(frozen=True)
class Report:
    """The facts about a data set. Sides and words are (least, median, most); shares are counts of usable pictures.

    pictures: the entries of the source.  usable: those of them that can be decoded.
    problems: what the source left out, then what cannot be decoded.
    size: the side in pixels at which pictures were compared.
    duplicates: pictures whose pixels at that size are those of an earlier one; the keys are one group of equal ones.
    same_captions: pictures that share their caption with another one, apart from upper and lower case.
    small: shorter side below SMALL.  one_colour: all pixels equal.
    oblong: opaque, and the square crop leaves out more than OBLONG.
    """

    name: str
    layout: str
    pictures: int
    usable: int
    problems: tuple[Problem, ...]
    size: int
    shorter_side: tuple[int, int, int]
    longer_side: tuple[int, int, int]
    transparent: int
    duplicates: Flagged
    same_captions: int
    caption_words: tuple[int, int, int]
    distinct_words: int
    small: Flagged
    one_colour: Flagged
    oblong: Flagged

    def suggested_size(self) -> int:
        """The largest of TRAINING_SIZES not above the median shorter side, and at least the smallest of them."""
        return suggested_size(self.shorter_side[1])

    def lines(self, shown: int | None = SHOWN, rest: str = "`unstir check` writes all of them to a file") -> list[str]:
        """The report in sentences, one a line; problems come last.

        shown, rest: as for `problem_lines`.
        """
        lines = [f"{self.name} ({self.layout}): {self.usable} of {self.pictures} captioned pictures can be used."]
        if self.usable:
            lines += self._about_usable()
        return lines + problem_lines(self.problems, shown, rest)

    def _about_usable(self) -> list[str]:
        """The sentences about the pictures that can be decoded, of which there must be some."""
        least, median, most = self.shorter_side
        few, typical, many = self.caption_words
        noticed = (
            ("Same caption as another picture", self.same_captions, ""),
            (f"Equal to another picture at {self.size} pixels", self.duplicates.count, self.duplicates),
            (f"Smaller than {SMALL} pixels", self.small.count, self.small),
            ("Of a single colour", self.one_colour.count, self.one_colour),
            ("Opaque, and the square crop leaves out more than a fifth", self.oblong.count, self.oblong),
        )
        return [
            f"Shorter side {least} to {most} pixels, median {median}; suggested training size {self.suggested_size()}.",
            f"{self.transparent} of {self.usable} pictures are transparent.",
            f"Captions have {few} to {many} words, median {typical}; {self.distinct_words} distinct words.",
            *(f"{what}: {count}{keys and f' ({keys})'}." for what, count, keys in noticed if count),
        ]


def suggested_size(shorter_side: int) -> int:
    """The largest of TRAINING_SIZES not above a shorter side in pixels, and at least the smallest of them."""
    return max((size for size in TRAINING_SIZES if size <= shorter_side), default=TRAINING_SIZES[0])


def least_median_most(values: npt.NDArray[np.integer]) -> tuple[int, int, int]:
    """These figures of some numbers, 0 where there are none; of an even number of them the lower median."""
    if not len(values):
        return 0, 0, 0
    middle = (len(values) - 1) // 2
    return int(values.min()), int(np.partition(values, middle)[middle]), int(values.max())


def problem_lines(problems: Sequence[Problem], shown: int | None = SHOWN, rest: str = "") -> list[str]:
    """Problems as "key: what", one a line.

    shown: how many of them, None for all.  rest: where to find those that are not shown, for the last line.
    """
    lines = [f"{problem.key}: {problem.what}" for problem in problems[:shown]]
    more = len(problems) - len(lines)
    if more:
        lines.append(f"… and {more} more problem{'s' if more > 1 else ''}" + (f"; {rest}" if rest else ""))
    return lines
