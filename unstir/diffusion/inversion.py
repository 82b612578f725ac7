"""Inversion: from a picture to the noise that deterministic sampling turns into it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, full_time
from unstir.diffusion.sampler import Level


@torch.no_grad()
def ddim_inversion(
    denoise: Denoiser, x0: Tensor, cond: Any, levels: Sequence[Level], iterations: int = 5, start: int = 2
) -> Tensor:
    """Walk the steps of DDIM backwards.

    Each step solves x_s = step(x_t) for x_t by a damped fixed-point iteration; one iteration is the explicit inversion.
    x0: (B, *), pictures.
    cond: as of the denoiser.
    levels: of sampling, from noise to picture. The last step cannot be inverted: it forgets all noise.
    iterations: evaluations of the denoiser for each step.
    start: how many levels from the end the walk begins, at least 2; there x0 is taken as a picture without noise.
    Returns x at the first level: with the same levels, `ddim` makes about x0 from it.
    Source: Song et al. 2021, section 4.3; Pan et al. 2023 for the iteration.
    """
    kept = list(levels[: len(levels) - start + 1])
    x = x0 * kept[-1].alpha
    for t, s in reversed(list(pairwise(kept))):
        ratio = s.sigma / t.sigma
        xs, x = x, x * (t.alpha / s.alpha if s.alpha else 1.0)
        for i in range(iterations):
            predicted = denoise(x, full_time(t.t, x), cond)
            found = (xs - predicted * (s.alpha - ratio * t.alpha)) / ratio
            # Half of the way: the prediction grows with x, so that whole steps swing to and fro.
            x = found if i == 0 else (x + found) / 2
    return x
