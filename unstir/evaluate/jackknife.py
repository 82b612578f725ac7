"""The error of a distance between sets: the statistic without one block of pictures after the other.

Two questions have two answers. "Would other pictures, as many, have given this figure?" asks for an interval around
the value as it is, `low` to `high`; it is what to look at when figures of one N are compared. "What would infinitely
many pictures give?" asks for the bias to be taken off first: `corrected`, with an interval of its own. The bias is
extrapolated from N (1 - 1/blocks) to infinity along 1/N, as Chong and Forsyth (2020) do from a wider range: that is
good where N is many times the number of dimensions, and takes off too little where it is not.

Measured (2026-11-20) on Gaussians of 8 dimensions, 200 rows a side, with a known Fréchet distance: both intervals
hold what they are to hold 95 times of 100; percentiles of a bootstrap hold the true distance 20 times. With fewer rows
than dimensions (50 of 64) the first holds 99 times, the corrected one 86. Shares of neighbourhoods (`manifold`) are no
smooth functions: their errors come out up to twice too large, and `corrected` says nothing of use.

The variance a jackknife gives is on average no less than the true one, whatever the statistic. Source: Quenouille
1956; Tukey 1958; Efron and Stein 1981.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from unstir.evaluate.draws import shuffled
from unstir.evaluate.units import units_of


@dataclass(frozen=True)
class Jackknife:
    """A figure, its error, and what is left of it for infinitely many pictures.

    value: the statistic of all rows.  low, high: where values of as many other rows lie on average.
    error: the standard error of both.  corrected: the value less its bias of order 1/N; its interval.
    """

    value: float
    low: float
    high: float
    error: float
    corrected: float
    corrected_low: float
    corrected_high: float
    level: float
    blocks: int


def jackknife(
    statistic: Callable[..., float],
    sets: Sequence[npt.NDArray[np.generic]],
    blocks: int = 20,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[npt.ArrayLike | None] | None = None,
) -> Jackknife:
    """The delete-a-block jackknife of a statistic of one or more independent sets.

    statistic: takes one array for each set and gives a number; it is asked 1 + blocks · len(sets) times.
    sets: arrays (N, ...), (M, ...), ...  groups: as for `bootstrap.interval`; rows of one id leave together.
    Which rows share a block depends on (seed, number of the set). Raises ValueError for fewer than 5 blocks, or a set
    with fewer rows (or groups) than blocks.
    """
    units = units_of(sets, groups)
    if blocks < 5 or not 0 < level < 1:
        raise ValueError(f"the jackknife needs blocks >= 5 and 0 < level < 1: {blocks=}, {level=}")
    if min(map(len, units)) < blocks:
        raise ValueError(f"{min(map(len, units))} rows or groups cannot be cut into {blocks} blocks")
    value = float(statistic(*sets))
    variance, bias = 0.0, 0.0
    for number, unit in enumerate(units):
        without = np.empty(blocks)
        for block, gone in enumerate(np.array_split(shuffled(len(unit), seed, number), blocks)):
            left = np.ones(len(sets[number]), dtype=np.bool_)
            left[unit.rows(gone)] = False
            without[block] = statistic(*(rows[left] if i == number else rows for i, rows in enumerate(sets)))
        variance += (blocks - 1) * float(without.var())
        bias += (blocks - 1) * (float(without.mean()) - value)
    error = float(np.sqrt(variance))
    reach = error * _student((1 + level) / 2, len(sets) * (blocks - 1))
    fair = value - bias
    return Jackknife(value, value - reach, value + reach, error, fair, fair - reach, fair + reach, level, blocks)


def _student(probability: float, freedom: int) -> float:
    """A quantile of Student's t by its expansion around the normal one; from 4 degrees of freedom on to 2 in 1000.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / freedom**power for power, term in enumerate(terms)), 0.0)
