"""DDPM's ancestral sampler: the reverse Markov chain."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.sampler import Level, Noise, Step, chain_noise, walk


def ddpm(denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """The reverse Markov chain: draws x_s from q(x_s | x_t, x0) at every step. Source: Ho et al. 2020, algorithm 2."""
    return walk(denoise, xt, cond, levels, noise, chain_noise)
