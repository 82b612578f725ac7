"""Random integers and NumPy generators as functions of a key: no state, no global generator, no torch.

Philox is a counter-based generator: block n of a key is computed directly, without the blocks before it.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, added to the key every round
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox 4×32 with 10 rounds.

    counter: (N, 4) uint32.
    key: two 32-bit words.
    Returns (N, 4) uniform uint32.
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def random_words(seed: int, step: int, count: int, stream: int = 0) -> NDArray[np.uint32]:
    """`count` uniform 32-bit words: key = the 64-bit seed, counter = (block, 0, step, stream)."""
    counter = np.zeros((-(-count // 4), 4), dtype=np.uint32)
    counter[:, 0] = np.arange(len(counter), dtype=np.uint32)
    counter[:, 2] = step & 0xFFFFFFFF
    counter[:, 3] = stream
    seed &= 0xFFFFFFFFFFFFFFFF
    return philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(-1)[:count]


def _keyed_bits(seed: int, stream: int) -> np.random.Philox:
    """NumPy's Philox 4×64 with the key (seed, stream), each taken modulo 2^64."""
    return np.random.Philox(key=np.array([seed % 2**64, stream % 2**64], dtype=np.uint64))


def keyed_generator(seed: int, stream: int = 0) -> np.random.Generator:
    """A NumPy generator whose numbers depend on (seed, stream) and on nothing else.

    NumPy may change how a generator makes its distributions from raw words. What must stay the same for years is made
    from `keyed_words`.
    """
    return np.random.Generator(_keyed_bits(seed, stream))


def keyed_words(count: int, seed: int, stream: int = 0) -> NDArray[np.uint64]:
    """`count` uniform 64-bit words of (seed, stream). NumPy promises that these never change."""
    return _keyed_bits(seed, stream).random_raw(count)


def keyed_permutation(n: int, seed: int, stream: int = 0) -> NDArray[np.int64]:
    """A permutation of 0 … n-1 by sorting `keyed_words`, so that it never changes either. Returns (n,)."""
    return np.argsort(keyed_words(n, seed, stream), kind="stable").astype(np.int64)
