"""Does the model draw anew, or does it copy? Each picture against its nearest training pictures.

The test is one of ratios: a picture is a copy when its nearest training picture is less than a third as far away as the
next one that shows something else. Source: Yoon et al. 2023; a cousin of Carlini et al. 2023. A plain threshold on
the distance would flag simple pictures, which are near to everything.

"Something else" is what the definition hangs on. Training sets hold one drawing more than once: twice under two names,
or in sibling styles. A copy of it is then as near to the second as to the first, the ratio is 1, and the test of the
papers sees nothing. So the next neighbour here is the nearest one of another *group* than the first, and with other
content. Groups are the caller's to name (the drawing, the concept); equal rows are found here. At distance 0 the ratio
is 0: equal pixels are a copy, whatever else is near.

What the share of copies means is told by real pictures that were held out of training, whose concept was held out
with them: they were not copied, so their share is the false alarm. Near-duplicates that no group names still hide a
copy; `closer` does not depend on the next neighbour: it is the share of pictures nearer to the training set than
99 % of the held-out ones are, and 1 % is what new pictures of equal kind reach. A blurred picture is near to many, so
that figure alone proves nothing.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.distances import squared
from unstir.evaluate.rows import Floats, Indices, as_ids, as_rows
from unstir.evaluate.shares import Share, share

_CLOSER = 0.01


@dataclass(frozen=True)
class Memory:
    """What `memory` finds.

    copied, false_alarm: shares of generated and of held-out pictures with a ratio below `threshold`.
    closer: share of generated pictures nearer to training than 99 % of the held-out ones; chance is 1 %.
    copies: rows of the generated pictures that are copies.  ratios: (N,) one a generated picture.
    nearest, distances: (N, k) each one's nearest training rows, nearest first, and how far they are.
    """

    copied: Share
    false_alarm: Share
    closer: Share
    threshold: float
    copies: tuple[int, ...]
    ratios: tuple[float, ...]
    nearest: tuple[tuple[int, ...], ...]
    distances: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """rows, distances: (N, k), nearest first, at equal distance the lowest row.  ratios: (N,) in [0, 1]."""

    rows: Indices
    distances: Floats
    ratios: Floats


def memory(
    generated: npt.ArrayLike,
    held_out: npt.ArrayLike,
    training: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    k: int = 3,
    threshold: float = 1 / 3,
) -> Memory:
    """Search the training set for each picture, by whatever the rows are: pixels from `reduced`, or features.

    generated: (N, D).  held_out: (H, D), real pictures the model never saw, of concepts it never saw.
    training: (M, D).  groups: (M,) ids; training pictures of one id show the same.
    Raises ValueError where these do not fit together, or the training set has only one group.
    """
    found = neighbours(generated, training, groups, k)
    fresh = neighbours(held_out, training, groups, 1)
    copies = np.flatnonzero(found.ratios < threshold)
    near = found.distances[:, 0] < np.quantile(fresh.distances[:, 0], _CLOSER)
    return Memory(
        copied=share(len(copies), len(found.ratios)),
        false_alarm=share(int((fresh.ratios < threshold).sum()), len(fresh.ratios)),
        closer=share(int(near.sum()), len(near), chance=_CLOSER),
        threshold=threshold,
        copies=tuple(copies.tolist()),
        ratios=tuple(found.ratios.tolist()),
        nearest=tuple(map(tuple, found.rows.tolist())),
        distances=tuple(map(tuple, found.distances.tolist())),
    )


def neighbours(
    pictures: npt.ArrayLike, training: npt.ArrayLike, groups: npt.ArrayLike | None = None, k: int = 3
) -> Neighbours:
    """The k nearest of the training rows (M, D) to each picture (N, D), and the ratio of first to next.

    "Next" is the nearest row of another group than the first's and with other content.
    Raises ValueError unless 1 <= k <= M, or where there is no other group.
    """
    asked, known = as_rows(pictures, name="the pictures"), as_rows(training, name="the training set")
    if asked.shape[1] != known.shape[1]:
        raise ValueError(f"pictures have {asked.shape[1]} numbers and training pictures {known.shape[1]}")
    if not 1 <= k <= len(known):
        raise ValueError(f"the training set has no {k} rows to be near to")
    group = np.arange(len(known)) if groups is None else as_ids(groups, len(known), "the groups")
    content = _contents(known)
    rows, distances, ratios = [], [], []
    for _, block in squared(asked, known):
        nearest = np.argsort(block, axis=1, kind="stable")[:, :k]
        apart = np.sqrt(np.take_along_axis(block, nearest, axis=1))
        first = nearest[:, :1]
        block[(group == group[first]) | (content == content[first])] = np.inf
        following = np.sqrt(block.min(axis=1))
        if np.isinf(following).any():
            raise ValueError("all training pictures show the same: there is no next neighbour")
        rows.append(nearest)
        distances.append(apart)
        ratios.append(apart[:, 0] / following)
    return Neighbours(np.concatenate(rows), np.concatenate(distances), np.concatenate(ratios))


def reduced(pixels: npt.NDArray[np.uint8], side: int = 32) -> npt.NDArray[np.float32]:
    """Pictures as `memory` compares them: premultiplied RGBA in [-1, 1], averaged over areas down to side × side.

    pixels: (N, H, W, 3 or 4) uint8, straight alpha; without alpha they count as opaque.
    Returns (N, side · side · 4) float32. Raises ValueError for other arrays, or pictures smaller than that.
    """
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[3] not in (3, 4):
        raise ValueError(f"pixels must be (N, H, W, 3 or 4) uint8, not {pixels.shape} {pixels.dtype}")
    count, height, width, channels = pixels.shape
    if not 1 <= side <= min(height, width):
        raise ValueError(f"pictures of {height} × {width} cannot be reduced to {side} × {side}")
    down, across = _areas(side, height), _areas(side, width).T
    result = np.ones((count, side, side, 4), dtype=np.float32)
    for i in range(count):  # one at a time: as float64 a set would take eight times its room
        picture = pixels[i].transpose(2, 0, 1) / 255
        if channels == 4:
            picture[:3] *= picture[3]
        result[i, :, :, :channels] = (2 * (down @ picture @ across) - 1).transpose(1, 2, 0)
    return result.reshape(count, -1)


def _areas(side: int, size: int) -> Floats:
    """(side, size): how much of each of `size` pixels falls into each of `side` equal parts; rows sum to 1."""
    edges = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)
    lap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    areas: Floats = np.clip(lap, 0, None) * (side / size)
    return areas


def _contents(rows: Floats) -> Indices:
    """(M,) numbers that are equal where rows are."""
    # Adding 0 makes -0 a 0: they are equal, but not their bytes.
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(hashlib.blake2b(row + 0.0).digest(), len(seen)) for row in rows])
