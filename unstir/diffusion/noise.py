"""Randomness is an argument: noise as a pure function of (seed, step, stream) and nothing else.

The noise of one picture never depends on the batch, its neighbours, the device or what was drawn before (`philox`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unstir.diffusion.philox import random_words

SAMPLING, TRAINING, GUIDANCE, LIKELIHOOD = 0, 1, 2, 4
"""Streams: numbers drawn for different purposes never coincide."""


def slerp(a: Tensor, b: Tensor, fraction: float) -> Tensor:
    """Spherical interpolation: lengths and angle change evenly.

    a, b: (..., D) of any length; between opposite vectors the path is not unique, and lerp is taken.
    fraction: 0 gives a, 1 gives b.
    Source: Shoemake 1985.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    cosine = (u * v).sum(-1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    curved = (torch.sin((1 - fraction) * angle) * u + torch.sin(fraction * angle) * v) / sine.clamp(min=1e-12)
    direction = torch.where(sine > 1e-4, curved, (1 - fraction) * u + fraction * v)
    out: Tensor = direction * ((1 - fraction) * length_a + fraction * length_b)
    return out


class Between(NamedTuple):
    """A seed between two others: its noise lies on the great circle through theirs.

    fraction: 0 gives the noise of `first`, 1 that of `second`.
    """

    first: int
    second: int
    fraction: float


Seed = int | Between


def normal(shape: Sequence[int], seed: Seed, step: int, stream: int = SAMPLING) -> Tensor:
    """Unit Gaussian noise of one picture, float32 on the CPU.

    shape: of the picture, without a batch dimension.
    Source: Box and Muller 1958. In float64, so that the float32 result hardly depends on the platform's logarithm.
    """
    if isinstance(seed, Between):
        first, second = (normal(shape, one, step, stream).flatten() for one in seed[:2])
        return slerp(first, second, seed.fraction).view(tuple(shape))
    count = int(np.prod(shape))
    uniform = (random_words(seed, step, 2 * (-(-count // 2)), stream).astype(np.float64) + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(pairs.reshape(-1)[:count].astype(np.float32).reshape(tuple(shape)))


def batch_normal(shape: Sequence[int], seeds: Sequence[Seed], step: int, stream: int = SAMPLING) -> Tensor:
    """Noise of several pictures, (len(seeds), *shape). Row i is `normal(shape, seeds[i], step, stream)` to the bit."""
    return torch.stack([normal(shape, seed, step, stream) for seed in seeds])


def uniform(shape: Sequence[int], seed: Seed, step: int, stream: int = SAMPLING) -> Tensor:
    """Uniform numbers of one picture, float64 in (0, 1). shape: without a batch dimension."""
    if isinstance(seed, Between):
        first, second = (torch.special.ndtri(uniform(shape, one, step, stream).flatten()) for one in seed[:2])
        between: Tensor = torch.special.ndtr(slerp(first, second, seed.fraction))
        return between.clamp(1e-12, 1 - 1e-12).view(tuple(shape))
    words = random_words(seed, step, int(np.prod(shape)), stream).astype(np.float64)
    return torch.from_numpy(((words + 0.5) / 2**32).reshape(tuple(shape)))


def batch_uniform(shape: Sequence[int], seeds: Sequence[Seed], step: int, stream: int = SAMPLING) -> Tensor:
    """Uniform numbers of several pictures, (len(seeds), *shape); row i is `uniform` of seeds[i]."""
    return torch.stack([uniform(shape, seed, step, stream) for seed in seeds])


def batch_gumbel(shape: Sequence[int], seeds: Sequence[Seed], step: int, stream: int = SAMPLING) -> Tensor:
    """Gumbel noise, float64: argmax(logits + noise) is a sample of softmax(logits). Arguments as in `batch_uniform`.

    Source: Gumbel 1954; Maddison et al. 2014.
    """
    return -(-batch_uniform(shape, seeds, step, stream).log()).log()


def batch_rademacher(shape: Sequence[int], seeds: Sequence[int], step: int, stream: int = SAMPLING) -> Tensor:
    """Random signs of several pictures (Rademacher variables), (len(seeds), *shape) float32: -1 and 1 equally often."""
    count = int(np.prod(shape))
    words = np.stack([random_words(seed, step, count, stream) for seed in seeds])
    return torch.from_numpy(1 - 2 * (words >> 31).astype(np.float32)).view(len(seeds), *shape)


def derive_seed(*words: int) -> int:
    """One 63-bit seed from several integers, for generators that take one seed (torch.Generator)."""
    state = 0
    for word in words:
        a, b = random_words((state ^ word) & 0xFFFFFFFFFFFFFFFF, 0, 2, TRAINING).tolist()
        state = (a << 32) | b
    return state >> 1
