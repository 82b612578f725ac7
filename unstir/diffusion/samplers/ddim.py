"""DDIM: each step goes straight towards the predicted picture."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.sampler import Level, Noise, Step, chain_noise, walk


def ddim(
    denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise, eta: float = 0.0
) -> Iterator[Step]:
    """DDIM: deterministic for eta = 0, the reverse Markov chain for eta = 1.

    Source: Song et al. 2021, eq. 12 and 16.
    """
    return walk(denoise, xt, cond, levels, noise, lambda t, s: eta * chain_noise(t, s) if eta else 0.0)
