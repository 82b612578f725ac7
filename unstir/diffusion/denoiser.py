"""A denoiser is a function (xt, t, cond) -> x0: it estimates the clean picture from a noisy one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import NoiseSchedule, logsnr

X0 = Prediction("x0")


class Denoiser(Protocol):
    """Anything that can be called like this is a denoiser.

    xt: (B, *) noisy pictures.
    t: (B,) in (0, 1].
    cond: the conditioning that the network takes, or None.
    Returns x0: (B, *), the estimate of E[x0 | xt, cond].
    """

    def __call__(self, xt: Tensor, t: Tensor, cond: Any) -> Tensor: ...


def per_picture(value: Tensor, like: Tensor) -> Tensor:
    """One number per picture, (B,), reshaped to broadcast over `like`, (B, *), and cast to its dtype."""
    return value.reshape(-1, *([1] * (like.ndim - 1))).to(like.dtype)


def picture_sums(x: Tensor) -> Tensor:
    """The sum of the numbers of each picture. x: (B, *).  Returns (B,).

    Each is computed by itself: torch splits the sums of a batch by its shape, and rounding follows the split.
    """
    return torch.stack([one.sum() for one in x])


@dataclass(frozen=True, eq=False)
class NetworkDenoiser:
    """A network as a denoiser.

    network: (xt scaled to about unit variance, clipped logsnr (B,), cond) -> output of the kind `prediction`.
    schedule: the noise schedule.
    prediction: what the output of the network means.
    levels: the range to which logsnr is clipped before the network gets it. It was trained within this range only, and
        what is noisier than its noisiest level is almost pure noise anyway.
    Raises ValueError when built from a pair that cannot work (eps where alpha(1) = 0).
    """

    network: Callable[[Tensor, Tensor, Any], Tensor]
    schedule: NoiseSchedule
    prediction: Prediction = X0
    levels: tuple[float, float] = (-20.0, 20.0)

    def __post_init__(self) -> None:
        self.prediction.check(self.schedule)

    def __call__(self, xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        t = t.double()
        alpha, sigma = per_picture(self.schedule.alpha(t), xt), per_picture(self.schedule.sigma(t), xt)
        # Karras 2022, table 1 (c_in): unit variance at every noise level, so one network serves every schedule.
        unit = (alpha.square() * self.prediction.sigma_data**2 + sigma.square()).rsqrt()
        level = logsnr(self.schedule, t).clamp(*self.levels).float()
        out = self.network(xt * unit, level, cond)
        return self.prediction.to_x0(out.to(xt.dtype), xt, alpha, sigma)


def noised(x0: Tensor, eps: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_t of the forward process: alpha(t)·x0 + sigma(t)·eps.

    x0, eps: (B, *).
    t: (B,) in [0, 1].
    Returns (B, *).
    """
    t = t.double()
    return per_picture(schedule.alpha(t), x0) * x0 + per_picture(schedule.sigma(t), x0) * eps


def gaussian_denoiser(mean: Tensor, std: Tensor, schedule: NoiseSchedule) -> Denoiser:
    """The exact denoiser of Gaussian data with independent elements: E[x0 | xt] in closed form.

    With it every sampler must reach exactly this mean and standard deviation.

    mean, std: of the data, broadcastable to a picture.
    schedule: the noise schedule.
    """

    def denoise(xt: Tensor, t: Tensor, cond: Any) -> Tensor:  # noqa: ARG001 - these data have no conditioning
        t = t.double()
        alpha, sigma = per_picture(schedule.alpha(t), xt), per_picture(schedule.sigma(t), xt)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (xt - alpha * mean)

    return denoise


def mixture_denoiser(means: Tensor, std: float, weights: Tensor, schedule: NoiseSchedule) -> Denoiser:
    """The exact denoiser of points from a mixture of round Gaussians: E[x0 | xt] in closed form.

    means: (K, D).  std: of each Gaussian.  weights: (K,), their probabilities.
    schedule: the noise schedule.
    Its pictures are points (B, D), or sets of independent points (B, *, D).
    """

    def denoise(xt: Tensor, t: Tensor, cond: Any) -> Tensor:  # noqa: ARG001 - these data have no conditioning
        t = t.double()
        alpha, sigma = (per_picture(one, xt).unsqueeze(-1) for one in (schedule.alpha(t), schedule.sigma(t)))
        variance = (alpha * std) ** 2 + sigma**2
        apart = xt.unsqueeze(-2) - alpha * means
        closeness = -0.5 * apart.square().sum(-1, keepdim=True) / variance
        belongs = torch.softmax(closeness + weights.log().unsqueeze(-1), dim=-2)
        towards = means + alpha * std**2 / variance * apart
        out: Tensor = (belongs * towards).sum(-2)
        return out

    return denoise


def full_time(t: float, xt: Tensor) -> Tensor:
    """One time for a whole batch: (B,) float64 on the device of xt."""
    return torch.full((xt.shape[0],), t, dtype=torch.float64, device=xt.device)
