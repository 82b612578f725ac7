"""Heun's method on the probability flow."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, full_time
from unstir.diffusion.prediction import eps_of
from unstir.diffusion.sampler import Level, Noise, Step, step_to


def heun(
    denoise: Denoiser,
    xt: Tensor,
    cond: Any,
    levels: Sequence[Level],
    noise: Noise,  # noqa: ARG001 - one signature for all samplers
) -> Iterator[Step]:
    """Heun's method on the same flow: evaluate eps at both ends of a step and take the average.

    Two network evaluations a step, one in the last. From pure noise (alpha = 0) the first step is Euler's, with one:
    there sigma/alpha, the variable of the flow, is infinite. Averaging x0 instead of eps is as good on grids uniform in
    logsnr and 3 to 13 times worse on grids uniform in t (Gaussian data).
    Source: Karras et al. 2022, algorithm 1.
    """
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = denoise(xt, full_time(t.t, xt), cond)
        yield Step(i, t.t, xt, x0)
        if s.sigma == 0:
            return
        guess = step_to(x0, xt, t, s)
        if t.alpha == 0:
            xt = guess
            continue
        ahead = denoise(guess, full_time(s.t, xt), cond)
        eps = (eps_of(x0, xt, t.alpha, t.sigma) + eps_of(ahead, guess, s.alpha, s.sigma)) * 0.5
        xt = xt * (s.alpha / t.alpha) + eps * (s.sigma - t.sigma * s.alpha / t.alpha)
