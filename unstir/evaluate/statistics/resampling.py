"""Counter-based resampling: a draw depends on (seed, stream) alone, not on what was drawn before.

NumPy promises that the raw words of Philox never change, so everything is made from those.
"""

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Indices


def _words(count: int, seed: int, stream: int) -> npt.NDArray[np.uint64]:
    return np.random.Philox(key=np.array([seed % 2**64, stream % 2**64], dtype=np.uint64)).random_raw(count)


def sample_with_replacement(n: int, count: int, seed: int, stream: int = 0) -> Indices:
    """`count` indices in [0, n), drawn with replacement. n: 1 to 2**31.  Returns (count,)."""
    # Multiply and shift instead of a remainder: no index is likelier than another by more than n / 2**32.
    words = _words(count, seed, stream) >> np.uint64(32)
    return ((words * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def permutation(n: int, seed: int, stream: int = 0) -> Indices:
    """A random permutation of n. Returns (n,)."""
    return np.argsort(_words(n, seed, stream), kind="stable").astype(np.int64)
