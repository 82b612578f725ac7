"""The order of the training pictures: a function of the seed and of how many were seen, so that a run can resume."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from unstir.diffusion.philox import keyed_permutation

ORDER, CAPTION, NOISE, VALIDATION, LATENT = range(5)
"""What a seed is mixed with, so that numbers drawn for different purposes have nothing in common."""


def order(n: int, seed: int, images_seen: int, count: int) -> npt.NDArray[np.int64]:
    """The indices of the next `count` pictures of a set of `n`, after `images_seen` have been served.

    Every pass over the n pictures has a permutation of its own, made from (seed, number of the pass).
    order(n, s, 0, a + b) is order(n, s, 0, a) followed by order(n, s, a, b).
    n: >= 1.  seed, images_seen, count: >= 0.  Returns (count,) in [0, n). Raises ValueError outside of these.
    """
    if n < 1 or seed < 0 or images_seen < 0 or count < 0:
        raise ValueError(f"order needs n >= 1 and nothing negative: {n=}, {seed=}, {images_seen=}, {count=}")
    indices = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        pass_number, start = divmod(images_seen + done, n)
        piece = _permutation(n, seed, pass_number)[start : start + count - done]
        indices[done : done + len(piece)] = piece
        done += len(piece)
    return indices


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, pass_number: int) -> npt.NDArray[np.int64]:
    permutation = keyed_permutation(n, seed, pass_number)
    permutation.setflags(write=False)  # it is shared by the cache
    return permutation
