"""Diffusion as a stochastic differential equation: dx = f(t)·x dt + g(t) dw turns pictures into noise.

Every schedule is such an SDE, with f and g given by alpha and sigma. Its reverse, dx = (f·x - g²·score) dt + g dw,
turns noise into pictures, and so does an ODE without any noise, the probability flow (`diffusion.ode`).
Source: Anderson 1982; Song et al. 2021 (score SDE), eq. 5, 6 and 13.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from unstir.diffusion.schedule import NoiseSchedule


class Rates(NamedTuple):
    """alpha, sigma and their derivatives by t, each in the shape of t."""

    alpha: Tensor
    sigma: Tensor
    alpha_rate: Tensor
    sigma_rate: Tensor


def rates(schedule: NoiseSchedule, t: Tensor) -> Rates:
    """Where the schedule is at time t, and how fast it moves. t: any shape, float64 for accuracy."""
    t = t.detach().requires_grad_()
    with torch.enable_grad():
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        # Each time has its own alpha and sigma, so the gradient of a sum is that of each. 0·t: alpha may be constant.
        (alpha_rate,) = torch.autograd.grad((alpha + 0 * t).sum(), t)
        (sigma_rate,) = torch.autograd.grad((sigma + 0 * t).sum(), t)
    return Rates(alpha.detach(), sigma.detach(), alpha_rate, sigma_rate)


def drift_and_diffusion(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """f and g² of the forward SDE: f = d log(alpha)/dt, g² = d(sigma²)/dt - 2·f·sigma².

    With linear-beta f = -beta/2 and g² = beta; with variance-exploding f = 0 and g² = d(sigma²)/dt. Where alpha is 0
    both are infinite: all of the picture is lost in finite time.

    t: any shape, in (0, 1].
    Returns two tensors in the shape of t.
    Source: Lu et al. 2022 (DPM-Solver), section 2.1; the inverse of Song et al. 2021 (score SDE), eq. 29.
    """
    alpha, sigma, alpha_rate, sigma_rate = rates(schedule, t)
    f = alpha_rate / alpha
    return f, 2 * sigma * (sigma_rate - f * sigma)
