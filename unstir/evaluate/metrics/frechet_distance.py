"""The Fréchet distance (FD; FID on Inception features) of two sets of features, each taken for a Gaussian.

    FD = |m1 - m2|² + tr(C1) + tr(C2) - 2 tr((C1^½ C2 C1^½)^½)

With any factors C1 = F1ᵀF1 and C2 = F2ᵀF2 the last trace is the sum of the singular values of F1 F2ᵀ. That is how it is
computed here: no product of covariances, no root of an eigenvalue that rounding made negative, and with fewer rows
than dimensions the centred rows themselves are the factors. Source: Heusel et al. 2017; Dowson and Landau 1982.

The distance of two samples is biased upwards, roughly as 1/N, and more so the more dimensions there are: compare
values of one N only (`distribution` does), and see `jackknife` for its error.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Floats, as_pair, as_rows


@dataclass(frozen=True)
class FrechetDistance:
    """A Fréchet distance and the two parts it is the sum of.

    value: the squared distance that the literature calls FID or FD.
    mean_term: the squared distance of the means.  covariance_term: what the covariances add.
    real, generated: rows on either side.
    """

    value: float
    mean_term: float
    covariance_term: float
    real: int
    generated: int


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """Mean and scatter of a set, all that the Fréchet distance needs; for a set larger than memory see `merge`.

    count: rows seen.  mean: (D,).  scatter: (D, D), the sum over rows of (row - mean)(row - mean)ᵀ.
    """

    count: int
    mean: Floats
    scatter: Floats

    @classmethod
    def of(cls, features: npt.ArrayLike) -> Self:
        """Summarise features (N, D), N >= 1. Raises ValueError for an empty set or numbers that are not finite."""
        rows = as_rows(features)
        mean = rows.mean(axis=0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merge(self, other: Self) -> Self:
        """The summary of both sets together, as exact as of all rows at once. Source: Chan, Golub and LeVeque 1983."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features of {len(self.mean)} and {len(other.mean)} dimensions do not go together")
        count = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / count)
        between = np.outer(gap, gap) * (self.count * other.count / count)
        return type(self)(count, mean, self.scatter + other.scatter + between)

    @classmethod
    def merged(cls, *parts: Self) -> Self:
        """The summary of all parts together, merged in the order given."""
        return reduce(lambda one, other: one.merge(other), parts)

    @property
    def covariance(self) -> Floats:
        """(D, D), the unbiased estimate. Raises ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError("a covariance needs two rows or more")
        covariance: Floats = self.scatter / (self.count - 1)
        return covariance


def frechet_distance(real: npt.ArrayLike, generated: npt.ArrayLike) -> FrechetDistance:
    """The distance of two sets of features (N, D) and (M, D), float64 throughout.

    Raises ValueError for fewer than two rows on a side, NaN or infinity, or if D differs.
    """
    a, b = as_pair(real, generated, least=2)
    if max(len(a), len(b)) >= a.shape[1]:
        return frechet_distance_of_fits(GaussianFit.of(a), GaussianFit.of(b))
    means = a.mean(axis=0), b.mean(axis=0)
    factors = [(rows - mean) / np.sqrt(len(rows) - 1) for rows, mean in zip((a, b), means, strict=True)]
    return _distance(means, (factors[0], factors[1]), (len(a), len(b)))


def frechet_distance_of_fits(real: GaussianFit, generated: GaussianFit) -> FrechetDistance:
    """The distance of two summaries. Raises ValueError for fewer than two rows on a side, or if D differs."""
    if real.mean.shape != generated.mean.shape:
        raise ValueError(f"features of {len(real.mean)} and {len(generated.mean)} dimensions do not go together")
    factors = _factor(real.covariance), _factor(generated.covariance)
    return _distance((real.mean, generated.mean), factors, (real.count, generated.count))


def _factor(covariance: Floats) -> Floats:
    """F (R, D) with FᵀF = covariance. Eigenvalues that are zero but for rounding are dropped."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    factor: Floats = (vectors[:, kept] * np.sqrt(values[kept])).T
    return factor


def _distance(means: tuple[Floats, Floats], factors: tuple[Floats, Floats], counts: tuple[int, int]) -> FrechetDistance:
    mean_term = float(np.square(means[0] - means[1]).sum())
    cross = factors[0] @ factors[1].T
    shared = float(np.linalg.svd(cross, compute_uv=False).sum()) if cross.size else 0.0
    covariance_term = float(np.square(factors[0]).sum() + np.square(factors[1]).sum()) - 2 * shared
    covariance_term = max(covariance_term, 0.0)  # between equal sets rounding leaves some 1e-15 of the traces
    return FrechetDistance(mean_term + covariance_term, mean_term, covariance_term, *counts)
