"""Randomness is an argument: noise as a pure function of (seed, step, stream) and nothing else.

The noise of one picture never depends on the batch, its neighbours, the device or what was drawn before (`philox`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unstir.diffusion.philox import random_words

SAMPLING, TRAINING, GUIDANCE = 0, 1, 2
"""Streams: numbers drawn for different purposes never coincide."""


def normal(shape: Sequence[int], seed: int, step: int, stream: int = SAMPLING) -> Tensor:
    """Unit Gaussian noise of one picture, float32 on the CPU.

    shape: of the picture, without a batch dimension.
    Source: Box and Muller 1958. In float64, so that the float32 result hardly depends on the platform's logarithm.
    """
    count = int(np.prod(shape))
    uniform = (random_words(seed, step, 2 * (-(-count // 2)), stream).astype(np.float64) + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(pairs.reshape(-1)[:count].astype(np.float32).reshape(tuple(shape)))


def batch_normal(shape: Sequence[int], seeds: Sequence[int], step: int, stream: int = SAMPLING) -> Tensor:
    """Noise of several pictures, (len(seeds), *shape). Row i is `normal(shape, seeds[i], step, stream)` to the bit."""
    return torch.stack([normal(shape, seed, step, stream) for seed in seeds])


def derive_seed(*words: int) -> int:
    """One 63-bit seed from several integers, for generators that take one seed (torch.Generator)."""
    state = 0
    for word in words:
        a, b = random_words((state ^ word) & 0xFFFFFFFFFFFFFFFF, 0, 2, TRAINING).tolist()
        state = (a << 32) | b
    return state >> 1
