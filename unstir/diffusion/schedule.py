"""Noise schedules: x_t = alpha(t)·x0 + sigma(t)·eps leads from the picture, t = 0, to the noise, t = 1.

Every schedule is two functions of t and the inverse of their log signal-to-noise ratio,
logsnr(t) = 2·log(alpha/sigma). All arithmetic is in the dtype of t; samplers use float64.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class NoiseSchedule(Protocol):
    """Anything with these members is a noise schedule."""

    @property
    def alpha_at_noise(self) -> float:
        """alpha(1), which is 0 if the path ends in pure noise."""
        ...

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the picture at time t in [0, 1]; any shape, same shape back."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the unit noise at time t in [0, 1]; any shape, same shape back."""
        ...

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        """The time at which 2·log(alpha/sigma) has this value, clipped to [0, 1]."""
        ...


def logsnr(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """2·log(alpha(t)/sigma(t)): +inf for a clean picture, -inf for pure noise."""
    return 2 * (schedule.alpha(t).log() - schedule.sigma(t).log())


@dataclass(frozen=True)
class Flow:
    """Linear interpolation: x_t = (1 - t)·x0 + t·eps.

    Source: Lipman et al. 2023 (flow matching); Liu et al. 2023 (rectified flow).
    """

    @property
    def alpha_at_noise(self) -> float:
        return 0.0

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.sigmoid(-logsnr / 2)


@dataclass(frozen=True)
class Cosine:
    """Variance preserving, alpha = cos(pi·t/2), sigma = sin(pi·t/2).

    Source: Nichol and Dhariwal 2021, eq. 17, without their small offset s, so that t = 0 is exactly the picture.
    """

    @property
    def alpha_at_noise(self) -> float:
        return 0.0

    def alpha(self, t: Tensor) -> Tensor:
        # sin of the complement is exactly 0 at t = 1, where cos(pi/2) in floating point is not.
        return torch.sin(math.pi / 2 * (1 - t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(math.pi / 2 * t)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan(torch.exp(-logsnr / 2))


@dataclass(frozen=True)
class LinearBeta:
    """Variance preserving with noise rate beta(t) rising linearly: DDPM in continuous time.

    beta_min, beta_max: rate at t = 0 and t = 1; the defaults are DDPM's 1e-4 … 0.02 over 1,000 steps.
    Raises ValueError when built with rates that do not rise from above 0.
    Source: Ho et al. 2020; Song et al. 2021 (score SDE), eq. 29.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max:
            raise ValueError(f"beta must rise from above 0, got beta_min={self.beta_min}, beta_max={self.beta_max}")

    @property
    def alpha_at_noise(self) -> float:
        return math.exp(-(self.beta_min + self.beta_max) / 4)

    def _minus_log_alpha2(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t.square() / 2

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._minus_log_alpha2(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self._minus_log_alpha2(t))).sqrt()

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        # alpha² = sigmoid(logsnr), so -log alpha² = softplus(-logsnr).
        return self._t_of_minus_log_alpha2(torch.nn.functional.softplus(-logsnr))

    def _t_of_minus_log_alpha2(self, total: Tensor) -> Tensor:
        # The quadratic is solved for t. Pure noise, which this path never reaches, maps to t = 1: there the total is
        # half of the maximum below.
        total = total.clamp(max=self.beta_min + self.beta_max)
        slope = self.beta_max - self.beta_min
        t = 2 * total / (self.beta_min + (self.beta_min**2 + 2 * slope * total).sqrt())
        return t.clamp(0, 1)


@dataclass(frozen=True)
class SubVariancePreserving(LinearBeta):
    """The sub-VP process: the alpha of `LinearBeta`, and as the deviation of the noise what is there its variance.

    sigma = 1 - alpha² is below sqrt(1 - alpha²) at every time. The less noise, the better the likelihood by the ODE.
    beta_min, beta_max: as of `LinearBeta`.
    Source: Song et al. 2021 (score SDE), section 3.4 and eq. 29.
    """

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._minus_log_alpha2(t))

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        # sigma/alpha = 1/alpha - alpha = 2·sinh(-log alpha).
        return self._t_of_minus_log_alpha2(2 * torch.asinh(torch.exp(-logsnr / 2) / 2))


@dataclass(frozen=True)
class VarianceExploding:
    """Variance exploding: alpha = 1, sigma rises geometrically from sigma_min to sigma_max.

    At t = 0 a trace of noise, sigma_min, is left; samplers end on the predicted picture itself.

    sigma_min, sigma_max: the defaults are EDM's sampling range for data of standard deviation 0.5.
    Raises ValueError when built with deviations that do not rise from above 0.
    Source: Song et al. 2021 (score SDE), eq. 30; Karras et al. 2022, table 1.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"sigma must rise from above 0, got {self.sigma_min} … {self.sigma_max}")

    @property
    def alpha_at_noise(self) -> float:
        return 1.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(math.log(self.sigma_max / self.sigma_min) * t)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        t = (-logsnr / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return t.clamp(0, 1)


SCHEDULES = ("flow", "cosine", "linear-beta", "sub-vp", "variance-exploding")
"""In the terms of score-based models, linear-beta is the VP process and variance-exploding the VE process."""


def named_schedule(name: str) -> NoiseSchedule:
    """The schedule of this name (see SCHEDULES) with its default range; ValueError for any other name."""
    match name:
        case "flow":
            return Flow()
        case "cosine":
            return Cosine()
        case "linear-beta":
            return LinearBeta()
        case "sub-vp":
            return SubVariancePreserving()
        case "variance-exploding":
            return VarianceExploding()
    raise ValueError(f"there is no noise schedule {name!r}; there are: {', '.join(SCHEDULES)}")
