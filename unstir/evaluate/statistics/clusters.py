"""Clusters of rows that are resampled together: single rows, or all rows of one id, such as pictures of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Indices, as_ids


@dataclass(frozen=True, eq=False)
class Clusters:
    """The rows of a set, partitioned into clusters.

    order: (N,) row numbers, cluster after cluster.
    starts, sizes: (K,) where each cluster begins in `order`, and how many rows it has.
    """

    order: Indices
    starts: Indices
    sizes: Indices

    @classmethod
    def of(cls, count: int, groups: npt.ArrayLike | None = None) -> Self:
        """Cluster `count` rows by id, or make each row its own cluster.

        groups: (count,) ids, or None.
        Raises ValueError for no row, or groups of another shape.
        """
        if count < 1:
            raise ValueError("a set without rows cannot be resampled")
        owner = np.arange(count) if groups is None else as_ids(groups, count, "the groups")
        sizes = np.bincount(owner)
        return cls(np.argsort(owner, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self, chosen: Indices) -> Indices:
        """The rows of the chosen clusters, in that order; a cluster chosen twice gives its rows twice."""
        sizes = self.sizes[chosen]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows: Indices = self.order[np.repeat(self.starts[chosen], sizes) + within]
        return rows


def clusters_of(
    sets: Sequence[npt.NDArray[np.generic]], groups: Sequence[npt.ArrayLike | None] | None
) -> list[Clusters]:
    """The clusters of each set. Raises ValueError for no set, an empty one, or groups that do not fit."""
    if not sets or (groups is not None and len(groups) != len(sets)):
        raise ValueError(f"{len(groups or [])} lists of groups for {len(sets)} sets")
    return [Clusters.of(len(rows), ids) for rows, ids in zip(sets, groups or [None] * len(sets), strict=True)]
