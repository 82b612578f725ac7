"""Randomness is an argument: noise as a pure function of (seed, step, stream) and nothing else.

Philox 4×32-10 is a counter-based generator: block n of a key is computed directly, without the blocks before it.
So the noise of one picture never depends on the batch, its neighbours, the device or what was drawn before.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, added to the key every round
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

SAMPLING, TRAINING = 0, 1
"""Streams: numbers drawn for different purposes never coincide."""


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox 4×32 with 10 rounds. counter: (N, 4) uint32; key: two 32-bit words. Returns (N, 4) uniform uint32."""
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


def random_words(seed: int, step: int, count: int, stream: int = SAMPLING) -> NDArray[np.uint32]:
    """`count` uniform 32-bit words: key = the 64-bit seed, counter = (block, 0, step, stream)."""
    counter = np.zeros((-(-count // 4), 4), dtype=np.uint32)
    counter[:, 0] = np.arange(len(counter), dtype=np.uint32)
    counter[:, 2] = step & 0xFFFFFFFF
    counter[:, 3] = stream
    seed &= 0xFFFFFFFFFFFFFFFF
    return philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(-1)[:count]


def normal(shape: Sequence[int], seed: int, step: int, stream: int = SAMPLING) -> Tensor:
    """Unit Gaussian noise of one picture, float32 on the CPU. shape: of the picture, without a batch.

    Box and Muller 1958, in float64, so that the float32 result hardly depends on the platform's logarithm.
    """
    count = int(np.prod(shape))
    uniform = (random_words(seed, step, 2 * (-(-count // 2)), stream).astype(np.float64) + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(pairs.reshape(-1)[:count].astype(np.float32).reshape(tuple(shape)))


def batch_normal(shape: Sequence[int], seeds: Sequence[int], step: int, stream: int = SAMPLING) -> Tensor:
    """Noise of several pictures, (len(seeds), *shape); row i is `normal(shape, seeds[i], step)` to the bit."""
    return torch.stack([normal(shape, seed, step, stream) for seed in seeds])


def derive_seed(*words: int) -> int:
    """One 63-bit seed from several whole numbers, for generators that take one seed (torch.Generator)."""
    state = 0
    for word in words:
        a, b = random_words((state ^ word) & 0xFFFFFFFFFFFFFFFF, 0, 2, TRAINING).tolist()
        state = (a << 32) | b
    return state >> 1
