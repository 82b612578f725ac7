"""DPM-Solver++(2M): second order from the predictions of two steps."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.sampler import Level, Noise, Step, walk


def dpmpp_2m(denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M): second order from one network evaluation a step. Source: Lu et al. 2022, algorithm 2."""
    return walk(denoise, xt, cond, levels, noise, lambda _t, _s: 0.0, extrapolate=True)
