"""The Fréchet distance of infinitely many generated pictures, extrapolated from subsets.

The distance of N pictures is biased by about c/N, and c is another for every model, so that distances at one N can rank
models wrongly. Over 1/N the distance is nearly a straight line; its value at 0 is free of most of the bias.
Source: Chong and Forsyth 2020.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.statistics.arrays import as_pair
from unstir.evaluate.statistics.resampling import permutation

SIZES = 8
"""Subset sizes, from LEAST of the pictures to all, evenly spaced in 1/N."""

LEAST_FRACTION = 0.25


@dataclass(frozen=True)
class ExtrapolatedDistance:
    """value: at infinity.  error: the standard error of the line there.  at_all: the distance of all pictures."""

    value: float
    error: float
    at_all: float


def frechet_infinity(reference: npt.ArrayLike, generated: npt.ArrayLike, seed: int = 0) -> ExtrapolatedDistance:
    """The distance of features (N, D) to a reference (R, D), which stays whole, extrapolated to infinite N.

    seed: of the subsets. ValueError for fewer than 8 rows.
    """
    a, b = as_pair(reference, generated)
    if len(b) < 8:
        raise ValueError(f"an extrapolation needs 8 pictures or more, not {len(b)}")
    inverse = np.linspace(1 / len(b), 1 / (LEAST_FRACTION * len(b)), SIZES)
    counts = np.unique(np.round(1 / inverse).astype(int))
    xs, ys = [], []
    for number, count in enumerate(counts):
        rows = permutation(len(b), seed, number)[:count]
        xs.append(1 / count)
        ys.append(frechet_distance(a, b[rows]).value)
    x, y = np.array(xs), np.array(ys)
    slope, value = np.polyfit(x, y, 1)
    spread = np.sqrt(np.square(y - value - slope * x).sum() / max(len(x) - 2, 1))
    error = spread * np.sqrt(1 / len(x) + x.mean() ** 2 / np.square(x - x.mean()).sum())
    return ExtrapolatedDistance(float(value), float(error), frechet_distance(a, b).value)
