"""Precision, recall, density and coverage: fidelity and diversity from k-nearest-neighbour balls.

A set of features is taken to fill the balls around its rows that reach to the k-th nearest other row.

    precision   generated pictures that lie in a real picture's ball (Kynkäänniemi et al. 2019)
    recall      real pictures that lie in a generated picture's ball
    density     real balls that a generated picture lies in, divided by k (Naeem et al. 2020): 1 between equal sets,
                more where pictures crowd around the commonest
    coverage    real pictures in whose ball a generated one lies

All four depend on the numbers of rows: compare values of equal N only. Balls are closed, so that a set agrees with
itself even where it holds duplicates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.pairwise_distance import TIE, kth_neighbour_distances, squared_distances
from unstir.evaluate.statistics.arrays import as_pair


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and coverage in [0, 1], density >= 0.  k: neighbours.  real, generated: rows on either side."""

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    real: int
    generated: int


def precision_recall(real: npt.ArrayLike, generated: npt.ArrayLike, k: int = 5) -> PrecisionRecall:
    """Compare features (N, D) and (M, D) by Euclidean distance, exactly, in chunks.

    Raises ValueError unless 1 <= k < N and k < M, for NaN or infinity, or if D differs.
    """
    a, b = as_pair(real, generated)
    reach_a, reach_b = kth_neighbour_distances(a, k) * (1 + TIE), kth_neighbour_distances(b, k) * (1 + TIE)
    in_real = np.zeros(len(b), dtype=np.int64)  # how many real balls each generated picture lies in
    recalled = covered = 0
    for rows, apart in squared_distances(a, b):
        inside = apart <= reach_a[rows, None]
        in_real += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int((apart <= reach_b).any(axis=1).sum())
    return PrecisionRecall(
        precision=float((in_real > 0).mean()),
        recall=recalled / len(a),
        density=float(in_real.sum()) / (k * len(b)),
        coverage=covered / len(a),
        k=k,
        real=len(a),
        generated=len(b),
    )
