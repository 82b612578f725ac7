"""Euclidean distances between all rows of two sets, a chunk at a time, as exact as by subtraction.

|a - b|² = |a|² + |b|² - 2 a·b is a matrix product and fast, but loses all digits where a is nearly b. Those pairs,
which copies and duplicates make, are computed again by subtraction.
"""

from collections.abc import Iterator

import numpy as np

from unstir.evaluate.statistics.arrays import Floats

_CHUNK = 1 << 22  # distances at a time: 32 MiB
_CLOSE = 1e-4  # of |a|² + |b|²: above it the product keeps 11 digits

TIE = 1e-9
"""Distances that differ by less than this share of themselves count as equal."""


def squared_distances(a: Floats, b: Floats) -> Iterator[tuple[slice, Floats]]:
    """Squared Euclidean distances of rows (N, D) and (M, D).

    Yields (rows of a, (rows, M) distances). The distance of equal rows is exactly 0.
    """
    centre = b.mean(axis=0)  # shorter vectors lose fewer digits
    b_centred = b - centre
    b_squares = np.square(b_centred).sum(axis=1)
    step = max(1, _CHUNK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        part = a[rows] - centre
        scale = np.square(part).sum(axis=1)[:, None] + b_squares
        block = scale - 2 * (part @ b_centred.T)
        close = block < _CLOSE * scale
        for i in np.flatnonzero(close.any(axis=1)):
            block[i, close[i]] = np.square(a[start + i] - b[close[i]]).sum(axis=1)
        yield rows, block


def kth_neighbour_distances(rows: Floats, k: int) -> Floats:
    """The squared distance of each row (N, D) to its k-th nearest other row, (N,). Raises ValueError unless k < N."""
    if not 1 <= k < len(rows):
        raise ValueError(f"{len(rows)} rows have no {k}-th neighbour")
    result = np.empty(len(rows))
    for part, block in squared_distances(rows, rows):
        block[np.arange(len(block)), np.arange(part.start, part.stop)] = np.inf  # not its own neighbour
        result[part] = np.partition(block, k - 1, axis=1)[:, k - 1]
    return result
