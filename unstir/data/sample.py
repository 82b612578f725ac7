"""A quick sample of a source, to plan with before the long pass over all of it."""

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from unstir.data.check import picture_facts
from unstir.data.decoding import in_parallel
from unstir.data.entry import Problem, Source
from unstir.data.report import TRAINING_SIZES, least_median_most, suggested_size


@dataclass(frozen=True)
class Sample:
    """What some pictures of a source suggest about all of them.

    pictures: the entries of the source.  sampled: how many were decoded.  usable: how many of these could be.
    shorter_side: (least, median, most) in pixels.  transparent: the share of usable pictures, in [0, 1].
    seconds_per_picture: by the clock, with all workers at once.
    """

    pictures: int
    sampled: int
    usable: int
    shorter_side: tuple[int, int, int]
    transparent: float
    seconds_per_picture: float

    @property
    def suggested_size(self) -> int:
        """As `Report.suggested_size`, by the sample."""
        return suggested_size(self.shorter_side[1])

    @property
    def estimate_seconds(self) -> float:
        """How long checking and packing all pictures will take."""
        return self.seconds_per_picture * self.pictures


def sample_check(
    source: Source,
    count: int = 256,
    seconds: float = 10.0,
    workers: int | None = None,
    size: int = TRAINING_SIZES[-1],
) -> Sample:
    """Decode some pictures, spread evenly over the source.

    count: how many at most.  seconds: no further picture is begun after this time.
    workers: threads, by default one for each core.  size: side in pixels that the pictures are scaled to; large JPEGs
    take longer for larger ones.
    Raises ValueError for less than one picture.
    """
    if count < 1 or not source.entries:
        raise ValueError(f"a sample takes at least one picture: {count} of {len(source.entries)}")
    entries = [source.entries[row] for row in spread_rows(len(source.entries), count)]
    began = time.perf_counter()
    sides: list[int] = []
    sampled = transparent = 0
    with closing(in_parallel(entries, partial(picture_facts, size=size), workers)) as results:
        for _, facts in results:
            sampled += 1
            if not isinstance(facts, Problem):
                sides.append(min(facts.width, facts.height))
                transparent += facts.transparent
            elapsed = time.perf_counter() - began
            if elapsed > seconds:
                break
    return Sample(
        pictures=len(source.entries),
        sampled=sampled,
        usable=len(sides),
        shorter_side=least_median_most(np.array(sides)),
        transparent=transparent / max(1, len(sides)),
        seconds_per_picture=elapsed / sampled,
    )


def spread_rows(total: int, count: int) -> list[int]:
    """At most `count` of the numbers below `total`, each once, so that any first part of them is spread evenly.

    Source: van der Corput 1935, "Verteilungsfunktionen": numbers with their binary digits reversed.
    """
    count = min(total, count)
    bits = max(1, (count - 1).bit_length())
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number * total // count for number in order if number < count]
