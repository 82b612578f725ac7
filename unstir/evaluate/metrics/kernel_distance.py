"""The kernel distance of two sets of features, their squared maximum mean discrepancy (KID on Inception features).

The kernel is k(x, y) = (x·y / D + 1)³, the estimator the unbiased one: its mean does not depend on the number of
pictures, and between equal distributions it is zero on average, so it is often negative.
Source: Gretton et al. 2012, lemma 6; Bińkowski et al. 2018.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Floats, as_pair
from unstir.evaluate.statistics.resampling import permutation

_CHUNK = 1 << 22  # values of the kernel at a time: 32 MiB


@dataclass(frozen=True)
class KernelDistance:
    """The distance from all pairs.  real, generated: rows on either side. For its error see `jackknife`."""

    value: float
    real: int
    generated: int


@dataclass(frozen=True)
class KernelDistanceOfSubsets:
    """The distance as it is usually reported: mean and standard deviation over random subsets of `size` rows a side.

    std: of one subset's value, not the error of the mean: subsets overlap.
    """

    mean: float
    std: float
    subsets: int
    size: int


def kernel_distance(real: npt.ArrayLike, generated: npt.ArrayLike) -> KernelDistance:
    """The unbiased estimate from all pairs of features (N, D) and (M, D).

    Raises ValueError for fewer than two rows on a side, NaN or infinity, or if D differs.
    """
    a, b = as_pair(real, generated, least=2)
    return KernelDistance(_discrepancy(a, b), len(a), len(b))


def kernel_distance_of_subsets(
    real: npt.ArrayLike, generated: npt.ArrayLike, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistanceOfSubsets:
    """The mean of `subsets` estimates, each from `size` rows of (N, D) and as many of (M, D), without replacement.

    Subset i depends on (seed, i) alone.
    Raises ValueError as `kernel_distance` does, and where a side has fewer than `size` rows.
    """
    a, b = as_pair(real, generated, least=2)
    if subsets < 1 or not 2 <= size <= min(len(a), len(b)):
        raise ValueError(f"cannot take {subsets} subsets of {size} rows from sets of {len(a)} and {len(b)}")
    values = np.array(
        [
            _discrepancy(a[permutation(len(a), seed, 2 * i)[:size]], b[permutation(len(b), seed, 2 * i + 1)[:size]])
            for i in range(subsets)
        ]
    )
    return KernelDistanceOfSubsets(float(values.mean()), float(values.std()), subsets, size)


def _discrepancy(a: Floats, b: Floats) -> float:
    n, m = len(a), len(b)
    within = _total(a, a) - _diagonal(a), _total(b, b) - _diagonal(b)
    return within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * _total(a, b) / (n * m)


def _total(a: Floats, b: Floats) -> float:
    """The kernel summed over all pairs."""
    step = max(1, _CHUNK // len(b))
    parts = [_cubed(a[start : start + step] @ b.T / a.shape[1]) for start in range(0, len(a), step)]
    return float(sum(parts))


def _diagonal(a: Floats) -> float:
    """The kernel of each row with itself, summed."""
    return _cubed(np.square(a).sum(axis=1) / a.shape[1])


def _cubed(products: Floats) -> float:
    shifted = products + 1
    return float((shifted * shifted * shifted).sum())
