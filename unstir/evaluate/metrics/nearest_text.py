"""The nearest-text baseline: for each prompt, the training picture with the most similar caption. Nothing is drawn.

Its pictures are real, so the question to a model is how well its own fit the prompts in comparison.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import as_unit_vectors

_CHUNK = 1 << 22  # cosines at a time: 32 MiB


@dataclass(frozen=True)
class NearestText:
    """rows: for each prompt the training row.  cosines: of the prompt and the nearest of that row's captions."""

    rows: tuple[int, ...]
    cosines: tuple[float, ...]


def nearest_text(
    prompts: npt.ArrayLike, captions: npt.ArrayLike, rows: npt.ArrayLike | None = None, tie: float = 1e-6
) -> NearestText:
    """Find the training row whose captions come closest to each prompt, in chunks.

    prompts: (N, D) text vectors.  captions: (M, D).
    rows: (M,) the training row that each caption belongs to; None means one caption a row, in order.
    tie: cosines within this of the highest are as good as it, and the lowest row wins; equal captions that were
        embedded in different batches differ by about 1e-7.
    Raises ValueError where these do not fit together.
    """
    queries, known = (
        as_unit_vectors(prompts, "the prompts' vectors"),
        as_unit_vectors(captions, "the captions' vectors"),
    )
    if queries.shape[1] != known.shape[1]:
        raise ValueError(f"prompts and captions have {queries.shape[1]} and {known.shape[1]} dimensions")
    owner = np.arange(len(known)) if rows is None else np.asarray(rows)
    if owner.shape != (len(known),) or not np.issubdtype(owner.dtype, np.integer) or owner.min() < 0:
        raise ValueError(f"the rows of the captions must be {len(known)} whole numbers from 0 on")
    nearest, cosines = [], []
    step = max(1, _CHUNK // len(known))
    for start in range(0, len(queries), step):
        block = queries[start : start + step] @ known.T
        good = block >= block.max(axis=1, keepdims=True) - tie
        lowest = np.where(good, owner, owner.max() + 1).min(axis=1)
        nearest.append(lowest)
        cosines.append(np.where(owner == lowest[:, None], block, -np.inf).max(axis=1))
    return NearestText(tuple(np.concatenate(nearest).tolist()), tuple(np.concatenate(cosines).tolist()))
