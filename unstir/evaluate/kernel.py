"""The kernel distance of two sets of features, their squared maximum mean discrepancy: KID if Inception's.

The kernel is k(x, y) = (x·y / D + 1)³, the estimator the unbiased one: its mean does not depend on the number of
pictures, and between equal distributions it is zero on average, so it may well be negative. Source: Gretton et al.
2012, lemma 6; Bińkowski et al. 2018.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.draws import shuffled
from unstir.evaluate.rows import Floats, as_pair

_CHUNK = 1 << 22  # values of the kernel at a time: 32 MiB


@dataclass(frozen=True)
class Kernel:
    """The distance from all pairs.  real, generated: rows on either side. Its error is a matter for `jackknife`."""

    value: float
    real: int
    generated: int


@dataclass(frozen=True)
class KernelSubsets:
    """The distance as it is usually told: mean and standard deviation over random subsets of `size` rows a side.

    std: of one subset's value, not the error of the mean: subsets overlap.
    """

    mean: float
    std: float
    subsets: int
    size: int


def kernel(real: npt.ArrayLike, generated: npt.ArrayLike) -> Kernel:
    """The unbiased estimate from all pairs of features (N, D) and (M, D).

    Raises ValueError for fewer than two rows on a side, NaN or infinity, or if D differs.
    """
    a, b = as_pair(real, generated, least=2)
    return Kernel(_discrepancy(a, b), len(a), len(b))


def kernel_subsets(
    real: npt.ArrayLike, generated: npt.ArrayLike, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelSubsets:
    """The mean of `subsets` estimates, each from `size` rows of (N, D) and as many of (M, D), drawn without repetition.

    Subset i depends on (seed, i) alone. Raises ValueError as `kernel`, and where a side has fewer than `size` rows.
    """
    a, b = as_pair(real, generated, least=2)
    if subsets < 1 or not 2 <= size <= min(len(a), len(b)):
        raise ValueError(f"there are no {subsets} subsets of {size} rows in sets of {len(a)} and {len(b)}")
    values = np.array(
        [
            _discrepancy(a[shuffled(len(a), seed, 2 * i)[:size]], b[shuffled(len(b), seed, 2 * i + 1)[:size]])
            for i in range(subsets)
        ]
    )
    return KernelSubsets(float(values.mean()), float(values.std()), subsets, size)


def _discrepancy(a: Floats, b: Floats) -> float:
    n, m = len(a), len(b)
    alike = _total(a, a) - _own(a), _total(b, b) - _own(b)
    return alike[0] / (n * (n - 1)) + alike[1] / (m * (m - 1)) - 2 * _total(a, b) / (n * m)


def _total(a: Floats, b: Floats) -> float:
    """The kernel summed over all pairs."""
    step = max(1, _CHUNK // len(b))
    parts = [_cubed(a[start : start + step] @ b.T / a.shape[1]) for start in range(0, len(a), step)]
    return float(sum(parts))


def _own(a: Floats) -> float:
    """The kernel of each row with itself, summed."""
    return _cubed(np.square(a).sum(axis=1) / a.shape[1])


def _cubed(products: Floats) -> float:
    shifted = products + 1
    return float((shifted * shifted * shifted).sum())
