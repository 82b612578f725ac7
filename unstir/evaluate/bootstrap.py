"""How far a figure would have strayed with other pictures: the bootstrap, for means and what behaves like them.

Not for distances of sets. A resample holds each picture once on average but only 63 % of them at all; duplicates
shrink a covariance, sit at distance zero in a neighbourhood and count as equal pairs in a kernel. The percentiles of
a Fréchet distance then lie far above the value itself. For those there is `jackknife`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.draws import picked
from unstir.evaluate.units import units_of


@dataclass(frozen=True)
class Interval:
    """A figure and where it lies with probability `level`.  draws: how many resamples the bounds come from."""

    value: float
    low: float
    high: float
    level: float
    draws: int


def interval(
    statistic: Callable[..., float],
    sets: Sequence[npt.NDArray[np.generic]],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[npt.ArrayLike | None] | None = None,
) -> Interval:
    """The percentile bootstrap over pictures. Source: Efron 1979.

    statistic: takes one array for each set and gives a number.  sets: arrays (N, ...), (M, ...), ..., resampled along
    their first axis independently; what belongs together (a picture and its vector) goes into one array.
    groups: for each set None, or N ids: rows of one id are drawn together, as pictures of one prompt must be, for
    they are no independent evidence.
    Resample r depends on (seed, r) alone. Raises ValueError for an empty set, resamples < 2 or level outside (0, 1).
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"the bootstrap needs resamples >= 2 and 0 < level < 1: {resamples=}, {level=}")
    units = units_of(sets, groups)
    values = np.empty(resamples)
    for draw in range(resamples):
        chosen = (picked(len(unit), len(unit), seed, draw * len(units) + i) for i, unit in enumerate(units))
        resampled = [rows[unit.rows(picks)] for rows, unit, picks in zip(sets, units, chosen, strict=True)]
        values[draw] = statistic(*resampled)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(*sets)), float(low), float(high), level, resamples)
