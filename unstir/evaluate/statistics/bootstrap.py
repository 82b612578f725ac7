"""The percentile bootstrap over pictures, for means and statistics that behave like means.

Not for distances between sets. A resample holds each picture once on average but only 63 % of them at all; duplicates
shrink a covariance, sit at distance zero in a neighbourhood and count as equal pairs in a kernel. The percentiles of
a Fréchet distance then lie far above the value itself. For distances there is `jackknife`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.clusters import clusters_of
from unstir.evaluate.statistics.resampling import sample_with_replacement


@dataclass(frozen=True)
class BootstrapInterval:
    """A statistic and its interval. level: of confidence.  resamples: how many the bounds come from."""

    value: float
    low: float
    high: float
    level: float
    resamples: int


def bootstrap_interval(
    statistic: Callable[..., float],
    sets: Sequence[npt.NDArray[np.generic]],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[npt.ArrayLike | None] | None = None,
) -> BootstrapInterval:
    """The percentile bootstrap interval of a statistic.

    statistic: takes one array for each set and returns a number.
    sets: arrays (N, ...), (M, ...), ..., resampled along their first axis independently; what belongs together
        (a picture and its vector) goes into one array.
    groups: for each set None, or N ids: rows of one id are drawn together, since pictures of one prompt are not
        independent evidence.
    Resample r depends on (seed, r) alone.
    Raises ValueError for an empty set, resamples < 2 or level outside (0, 1).
    Source: Efron 1979.
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"the bootstrap needs resamples >= 2 and 0 < level < 1: {resamples=}, {level=}")
    clusters = clusters_of(sets, groups)
    values = np.empty(resamples)
    for resample in range(resamples):
        chosen = (
            sample_with_replacement(len(one), len(one), seed, resample * len(clusters) + i)
            for i, one in enumerate(clusters)
        )
        resampled = [rows[one.rows(picks)] for rows, one, picks in zip(sets, clusters, chosen, strict=True)]
        values[resample] = statistic(*resampled)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return BootstrapInterval(float(statistic(*sets)), float(low), float(high), level, resamples)
