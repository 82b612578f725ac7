"""Euler's method on the probability flow."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.sampler import Level, Noise, Step
from unstir.diffusion.samplers.ddim import ddim


def euler(denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """Euler's method on the probability flow d(x/alpha) = eps · d(sigma/alpha): the same step as DDIM's.

    Source: Karras et al. 2022, eq. 1 and algorithm 1 without its second half.
    """
    return ddim(denoise, xt, cond, levels, noise)
