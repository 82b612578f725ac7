"""What is drawn together: single rows, or all rows of a group, as the pictures of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from unstir.evaluate.rows import Indices, as_ids


@dataclass(frozen=True, eq=False)
class Units:
    """The rows of a set, cut into units.

    order: (N,) row numbers, unit after unit.  starts, sizes: (U,) where each unit begins in it, and how many it has.
    """

    order: Indices
    starts: Indices
    sizes: Indices

    @classmethod
    def of(cls, count: int, groups: npt.ArrayLike | None = None) -> Self:
        """`count` rows, each a unit, or all rows of one id. groups: (count,) ids. Raises ValueError for no row."""
        if count < 1:
            raise ValueError("there is a set without a row")
        owner = np.arange(count) if groups is None else as_ids(groups, count, "the groups")
        sizes = np.bincount(owner)
        return cls(np.argsort(owner, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self, chosen: Indices) -> Indices:
        """The rows of the chosen units, in the order chosen; a unit chosen twice gives its rows twice."""
        sizes = self.sizes[chosen]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows: Indices = self.order[np.repeat(self.starts[chosen], sizes) + within]
        return rows


def units_of(sets: Sequence[npt.NDArray[np.generic]], groups: Sequence[npt.ArrayLike | None] | None) -> list[Units]:
    """The units of each set. Raises ValueError for no set, an empty one, or groups that do not fit."""
    if not sets or (groups is not None and len(groups) != len(sets)):
        raise ValueError(f"{len(groups or [])} lists of groups for {len(sets)} sets")
    return [Units.of(len(rows), ids) for rows, ids in zip(sets, groups or [None] * len(sets), strict=True)]
