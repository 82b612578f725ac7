"""Memorisation: is a picture a copy of a training picture? Each picture against its nearest training pictures.

The test is a ratio: a picture is flagged as a copy when its nearest training picture is less than a third as far away
as the next one that shows something else. A plain threshold on the distance would flag simple pictures, which are near
to everything. Source: Yoon et al. 2023; similar to Carlini et al. 2023.

"Something else" is essential. Training sets hold one drawing more than once: twice under two names, or in sibling
styles. A copy of it is then as near to the second as to the first, the ratio is 1, and the test of the papers finds
nothing. So the next neighbour here is the nearest one of another *group* than the first, and with other content. The
caller names the groups (the drawing, the concept); equal rows are found here. At distance 0 the ratio is 0: equal
pixels are a copy, whatever else is near.

How to read the proportion of copies: real pictures that were held out of training, together with the others of their
group, were not copied, so the proportion of them that is flagged is the false-positive rate. Near-duplicates that no
group names still hide a copy. `closer` does not depend on the next neighbour: it is the proportion of pictures nearer
to the training set than 99 % of the held-out ones, and new pictures of the same kind reach 1 %. A blurred picture is
near to many, so that number alone proves nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.pairwise_distance import squared_distances
from unstir.evaluate.statistics.arrays import Floats, Indices, as_ids, as_rows
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval

_CLOSER = 0.01


@dataclass(frozen=True)
class Memorisation:
    """Copies among N generated pictures.

    threshold: of the ratio, below which a picture is a copy.  false_positives: of real held-out pictures; None where
        there are none.
    close_distance: 99 % of the held-out pictures are farther than this from training; None where there are none.
    ratios: (N,) distance to the nearest training picture over that to the next which shows something else.
    nearest, distances: (N, k) each picture's nearest training rows, nearest first, and their distances.
    """

    threshold: float
    false_positives: Proportion | None
    close_distance: float | None
    ratios: tuple[float, ...]
    nearest: tuple[tuple[int, ...], ...]
    distances: tuple[tuple[float, ...], ...]

    @property
    def copies(self) -> tuple[int, ...]:
        """Rows of the generated pictures that are copies."""
        return tuple(row for row, ratio in enumerate(self.ratios) if ratio < self.threshold)

    def copied(self, rows: Sequence[int] | Indices | None = None) -> Proportion:
        """The proportion of copies among these rows of the generated pictures; None: among all."""
        flagged = [self.ratios[row] < self.threshold for row in self._rows(rows)]
        return wilson_interval(sum(flagged), len(flagged))

    def closer(self, rows: Sequence[int] | Indices | None = None) -> Proportion | None:
        """The proportion of these rows that is nearer to training than 99 % of held-out pictures; by chance 1 %."""
        if self.close_distance is None:
            return None
        near = [self.distances[row][0] < self.close_distance for row in self._rows(rows)]
        return wilson_interval(sum(near), len(near), chance=_CLOSER)

    def _rows(self, rows: Sequence[int] | Indices | None) -> Sequence[int] | Indices:
        return range(len(self.ratios)) if rows is None else rows


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """rows, distances: (N, k), nearest first, at equal distance the lowest row.  ratios: (N,) in [0, 1]."""

    rows: Indices
    distances: Floats
    ratios: Floats


def memorisation(
    generated: npt.ArrayLike,
    held_out: npt.ArrayLike | None,
    training: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    k: int = 3,
    threshold: float = 1 / 3,
) -> Memorisation:
    """Search the training set for each picture, by pixels from `reduced_pixels` or by features.

    generated: (N, D).
    held_out: (H, D), real pictures of groups that training never showed; or None.
    training: (M, D).  groups: (M,) ids; training pictures of one id show the same.
    Raises ValueError where these do not fit together, or the training set has only one group.
    """
    found = nearest_neighbours(generated, training, groups, k)
    false_positives, close_distance = None, None
    if held_out is not None:
        unseen = nearest_neighbours(held_out, training, groups, 1)
        false_positives = wilson_interval(int((unseen.ratios < threshold).sum()), len(unseen.ratios))
        close_distance = float(np.quantile(unseen.distances[:, 0], _CLOSER))
    return Memorisation(
        threshold=threshold,
        false_positives=false_positives,
        close_distance=close_distance,
        ratios=tuple(found.ratios.tolist()),
        nearest=tuple(map(tuple, found.rows.tolist())),
        distances=tuple(map(tuple, found.distances.tolist())),
    )


def nearest_neighbours(
    pictures: npt.ArrayLike, training: npt.ArrayLike, groups: npt.ArrayLike | None = None, k: int = 3
) -> NearestNeighbours:
    """The k nearest of the training rows (M, D) to each picture (N, D), and the ratio of nearest to next.

    Next is the nearest row of another group than that of the nearest, and with other content.
    Raises ValueError unless 1 <= k <= M, or where there is no other group.
    """
    queries, known = as_rows(pictures, name="the pictures"), as_rows(training, name="the training set")
    if queries.shape[1] != known.shape[1]:
        raise ValueError(f"pictures have {queries.shape[1]} numbers and training pictures {known.shape[1]}")
    if not 1 <= k <= len(known):
        raise ValueError(f"the training set has {len(known)} rows; k must be 1 to that many, not {k}")
    group = np.arange(len(known)) if groups is None else as_ids(groups, len(known), "the groups")
    content = _contents(known)
    rows, distances, ratios = [], [], []
    for _, block in squared_distances(queries, known):
        nearest = np.argsort(block, axis=1, kind="stable")[:, :k]
        near = np.sqrt(np.take_along_axis(block, nearest, axis=1))
        first = nearest[:, :1]
        block[(group == group[first]) | (content == content[first])] = np.inf
        next_distance = np.sqrt(block.min(axis=1))
        if np.isinf(next_distance).any():
            raise ValueError("all training pictures show the same: there is no next neighbour")
        rows.append(nearest)
        distances.append(near)
        ratios.append(near[:, 0] / next_distance)
    return NearestNeighbours(np.concatenate(rows), np.concatenate(distances), np.concatenate(ratios))


def reduced_pixels(pixels: npt.NDArray[np.uint8], side: int = 32) -> npt.NDArray[np.float32]:
    """Premultiplied RGBA in [-1, 1], averaged over areas down to side × side, as pictures are compared by pixels.

    pixels: (N, H, W, 3 or 4) uint8, straight alpha; without alpha they count as opaque.
    Returns (N, side · side · 4) float32.
    Raises ValueError for other arrays, or pictures smaller than that.
    """
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[3] not in (3, 4):
        raise ValueError(f"pixels must be (N, H, W, 3 or 4) uint8, not {pixels.shape} {pixels.dtype}")
    count, height, width, channels = pixels.shape
    if not 1 <= side <= min(height, width):
        raise ValueError(f"pictures of {height} × {width} cannot be reduced to {side} × {side}")
    down, across = _areas(side, height), _areas(side, width).T
    result = np.ones((count, side, side, 4), dtype=np.float32)
    for i in range(count):  # one at a time: as float64 a set would take eight times its memory
        picture = pixels[i].transpose(2, 0, 1) / 255
        if channels == 4:
            picture[:3] *= picture[3]
        result[i, :, :, :channels] = (2 * (down @ picture @ across) - 1).transpose(1, 2, 0)
    return result.reshape(count, -1)


def _areas(side: int, size: int) -> Floats:
    """(side, size): how much of each of `size` pixels falls into each of `side` equal parts; rows sum to 1."""
    edges = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    areas: Floats = np.clip(overlap, 0, None) * (side / size)
    return areas


def _contents(rows: Floats) -> Indices:
    """(M,) numbers that are equal where rows are."""
    # Adding 0 makes -0 a 0: they are equal, but not their bytes.
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(hashlib.blake2b(row + 0.0).digest(), len(seen)) for row in rows])
