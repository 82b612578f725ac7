"""SDE-DPM-Solver++(2M): the reverse SDE, with the predictions of two steps."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.sampler import Level, Noise, Step, chain_noise, walk


def sde(denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M): the reverse SDE with extrapolated x0. Source: Lu et al. 2022, section 5."""
    return walk(denoise, xt, cond, levels, noise, chain_noise, extrapolate=True)
