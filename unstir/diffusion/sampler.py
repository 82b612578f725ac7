"""What samplers are made of. Every sampler is a generator that yields each step; the last step's x0 is the picture.

All but Heun's method and `pc` are one update, `step_to`, with two choices: which prediction of the picture to step
towards (this step's, or an extrapolation from the last two) and how much of the noise to replace by fresh noise (none,
as much as the reverse Markov chain does, or all of it):

    sampler     prediction                   fresh noise            order
    ddim        this step's                  eta × the chain's      1 (eta = 0)
    ddpm        this step's                  the chain's            1
    blend       this step's                  all                    (variance too small, see there)
    euler       this step's                  none                   1
    heun        (average eps of both ends)   none                   2
    dpmpp_2m    extrapolated                 none                   2
    sde         extrapolated                 the chain's            stochastic
    pc          as ddpm, and after each step some of Langevin dynamics, which yield a Step each

Each is a file of `diffusion.samplers`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, full_time
from unstir.diffusion.samplers import SAMPLER_NAMES
from unstir.diffusion.schedule import NoiseSchedule


class Level(NamedTuple):
    """A time t of the path and the mixture alpha·x0 + sigma·eps there."""

    t: float
    alpha: float
    sigma: float

    @property
    def half_logsnr(self) -> float:
        """log(alpha/sigma), -inf at pure noise and +inf at the picture."""
        if self.alpha == 0:
            return -math.inf
        return math.log(self.alpha / self.sigma) if self.sigma else math.inf


class Step(NamedTuple):
    """One step of a sampler.

    i: 0 … n-1.
    t: the time before the step.
    xt: (B, *), the noisy picture at t.
    x0: (B, *), the clean picture as predicted from xt. In the last step it is the result.
    """

    i: int
    t: float
    xt: Tensor
    x0: Tensor


Noise = Callable[[int], Tensor]
"""Fresh unit noise for step i = 1 … n-1, in the shape of xt (noise(0) is what the start is made of). A sampler with
further steps takes that of numbers above MAX_STEPS of `grid`."""


class Sampler(Protocol):
    """Anything that can be called like this is a sampler.

    xt: (B, *), noise at levels[0].
    cond: the conditioning, as the denoiser takes it.
    levels: from `levels_of`.
    noise: called by stochastic samplers only.
    """

    def __call__(
        self, denoise: Denoiser, xt: Tensor, cond: Any, levels: Sequence[Level], noise: Noise
    ) -> Iterator[Step]: ...


def levels_of(schedule: NoiseSchedule, grid: Sequence[float]) -> list[Level]:
    """The schedule evaluated at every time of the grid, in float64. The last level is the picture: alpha 1, sigma 0."""
    t = torch.tensor(grid, dtype=torch.float64)
    levels = [Level(*row) for row in zip(grid, schedule.alpha(t).tolist(), schedule.sigma(t).tolist(), strict=True)]
    return [*levels[:-1], Level(0.0, 1.0, 0.0)]


def step_to(x0: Tensor, xt: Tensor, t: Level, s: Level, fresh: float = 0.0, z: Tensor | None = None) -> Tensor:
    """Move xt from t to s along the straight line through x0, replacing part of its noise by fresh noise z.

    x0, xt: (B, *), about [-1, 1].
    t, s: levels with s.t < t.t and t.sigma > 0.
    fresh: standard deviation of the new noise, 0 … s.sigma.
    z: (B, *) unit noise, or None where `fresh` is 0.
    Returns xs: (B, *), whose total noise is s.sigma whatever `fresh` is.
    Source: Song et al. 2021 (DDIM), eq. 12.
    """
    kept = math.sqrt(max(s.sigma**2 - fresh**2, 0.0)) / t.sigma
    # Products and a sum, never a fused multiply-add: the bits must not depend on where in a batch a picture lies.
    xs = x0 * (s.alpha - kept * t.alpha)
    if kept:
        xs += xt * kept
    if fresh and z is not None:
        xs += z * fresh
    return xs


def chain_noise(t: Level, s: Level) -> float:
    """Standard deviation of the noise that the reverse Markov chain adds from t to s, that of q(x_s | x_t, x0).

    Source: Ho et al. 2020, eq. 7, for any alpha and sigma: Kingma et al. 2021, eq. 25.
    """
    if s.sigma == 0:
        return 0.0
    return s.sigma * math.sqrt(max(1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2, 0.0))


def walk(
    denoise: Denoiser,
    xt: Tensor,
    cond: Any,
    levels: Sequence[Level],
    noise: Noise,
    fresh: Callable[[Level, Level], float],
    extrapolate: bool = False,
) -> Iterator[Step]:
    """The loop of all samplers that evaluate the denoiser once a step.

    fresh: (t, s) -> standard deviation of the fresh noise.
    extrapolate: step towards the extrapolation from the last two predictions.
    """
    last = len(levels) - 2
    x0_before: Tensor | None = None
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = denoise(xt, full_time(t.t, xt), cond)
        yield Step(i, t.t, xt, x0)
        if i == last:
            return
        towards = x0
        if extrapolate and x0_before is not None:
            # Lu et al. 2022 (DPM-Solver++), algorithm 2: x0 is taken as linear in log(alpha/sigma).
            step = s.half_logsnr - t.half_logsnr
            step_before = t.half_logsnr - levels[i - 1].half_logsnr
            towards = x0 + (x0 - x0_before) * (step / (2 * step_before))
        x0_before = x0
        amount = fresh(t, s)
        xt = step_to(towards, xt, t, s, amount, noise(i + 1) if amount else None)


def named_sampler(name: str) -> Sampler:
    """The sampler of this name; ValueError for any other."""
    if name not in SAMPLER_NAMES:
        raise ValueError(f"there is no sampler {name!r}; there are: {', '.join(SAMPLER_NAMES)}")
    sampler: Sampler = getattr(import_module(f"unstir.diffusion.samplers.{name}"), name)
    return sampler
