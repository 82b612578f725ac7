"""Random splits of a set into parts of about one size, whole groups at a time."""

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Indices
from unstir.evaluate.statistics.clusters import Clusters
from unstir.evaluate.statistics.resampling import permutation


def split_by_group(
    count: int, parts: int, seed: int = 0, groups: npt.ArrayLike | None = None, split: int = 0
) -> list[Indices]:
    """Split `count` rows into `parts` at random; each group goes to the part that has the fewest rows so far.

    groups: (count,) ids; rows of one id stay in one part. None: each row is a group.
    split: the number of the split; splits depend on (seed, split) alone.
    Returns the row numbers of each part, the rows of a group beside each other; parts may be empty.
    Raises ValueError for no row, or groups of another shape.
    """
    clusters = Clusters.of(count, groups)
    rows: list[list[int]] = [[] for _ in range(parts)]
    for cluster in permutation(len(clusters), seed, 2 * split):
        smallest = min(rows, key=len)
        smallest.extend(clusters.rows(np.array([cluster])).tolist())
    return [np.array(part, dtype=np.int64) for part in rows]


def split_half(
    count: int, seed: int = 0, groups: npt.ArrayLike | None = None, split: int = 0
) -> tuple[Indices, Indices]:
    """Split `count` rows at random into two halves of equal size.

    groups, split: as for `split_by_group`. With siblings of one drawing in both halves these would agree better than
    any new drawings could. Rows that one half has more than the other are left out.
    Returns sorted row numbers.
    Raises ValueError if there are fewer than two rows, or one group only.
    """
    if len(Clusters.of(count, groups)) < 2:
        raise ValueError(f"{count} rows in one group cannot be halved")
    parts = split_by_group(count, 2, seed, groups, split)
    size = min(map(len, parts))
    first, second = (np.sort(part[:size]) for part in parts)
    return first, second
