"""The probability flow: an ODE that leads from pictures to noise and back, and the exact likelihood that it gives.

dx/dt = f·x - g²/2·score has at every time the same distribution of x as the SDE of the schedule (`score_sde`), without
any noise. It is solved with an adaptive step, to any accuracy; `ddim` and `heun` solve it on a fixed grid, and
`ddim_inversion` goes back on one.
Source: Song et al. 2021 (score SDE), section 4.3 and appendix D; Chen et al. 2018 (neural ODEs); Grathwohl et al. 2019
(FFJORD).
"""

import math
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, per_picture, picture_sums
from unstir.diffusion.prediction import eps_of
from unstir.diffusion.runge_kutta import State, dormand_prince
from unstir.diffusion.schedule import NoiseSchedule
from unstir.diffusion.score_sde import rates

START = 1e-5
"""Where the flow of pictures begins. At t = 0 itself most schedules have no noise, and the field no limit.

Source: Song et al. 2021 (score SDE), appendix C.
"""


def flow_field(denoise: Denoiser, xt: Tensor, t: Tensor, schedule: NoiseSchedule, cond: Any) -> Tensor:
    """dx/dt of the probability flow: the derivative of alpha·x0 + sigma·eps with x0 and eps as they are predicted.

    It equals f·x - g²/2·score, and is finite where alpha is 0 too, where f and g are not.
    xt: (B, *).
    t: (B,) in (0, 1], where sigma > 0.
    Returns (B, *).
    """
    alpha, sigma, alpha_rate, sigma_rate = (per_picture(one, xt) for one in rates(schedule, t))
    x0 = denoise(xt, t, cond)
    return alpha_rate * x0 + sigma_rate * eps_of(x0, xt, alpha, sigma)


def flow_to_noise(
    denoise: Denoiser,
    x0: Tensor,
    schedule: NoiseSchedule,
    cond: Any,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    start: float = START,
) -> Tensor:
    """From pictures to the noise that the flow turns into them.

    x0: (B, *), pictures.
    cond: as of the denoiser.
    rtol, atol: tolerances of the solver.
    start: the time at which alpha·x0 is taken as the picture, with a trace of noise that is part of it.
    Returns x at t = 1, (B, *); its deviation is about sigma(1).
    Raises ValueError as `dormand_prince`.
    """
    x = x0 * _alpha(schedule, start)
    return _flow(denoise, x, schedule, cond, (start, 1.0), rtol, atol)


def flow_to_picture(
    denoise: Denoiser,
    noise: Tensor,
    schedule: NoiseSchedule,
    cond: Any,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    start: float = START,
) -> Tensor:
    """From noise to pictures; the inverse of `flow_to_noise`. noise: (B, *), x at t = 1. Other arguments as there."""
    x = _flow(denoise, noise, schedule, cond, (1.0, start), rtol, atol)
    return x / _alpha(schedule, start)


@torch.no_grad()
def _flow(
    denoise: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    cond: Any,
    ends: tuple[float, float],
    rtol: float,
    atol: float,
) -> Tensor:
    def field(t: Tensor, state: State) -> State:
        return (flow_field(denoise, state[0], t, schedule, cond),)

    (x,) = dormand_prince(field, (x,), *ends, rtol=rtol, atol=atol)
    return x


def _alpha(schedule: NoiseSchedule, t: float) -> float:
    return schedule.alpha(torch.tensor(t, dtype=torch.float64)).item()


def log_likelihood(
    denoise: Denoiser,
    x0: Tensor,
    schedule: NoiseSchedule,
    cond: Any,
    probe: Tensor | None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    *,
    start: float = START,
) -> Tensor:
    """The logarithm of the density of pictures, where noise N(0, sigma(1)²) at t = 1 is drawn and decoded.

    Along the flow the logarithm of the density changes by minus the divergence of the field:
    log p(x at start) = log p(x at 1) + the integral of the divergence.

    x0: (B, *), pictures.
    cond: as of the denoiser.
    probe: (B, *) of random signs, the same along the whole path: probe·J·probe is the divergence on average, J being
        the Jacobian of the field (Hutchinson's estimator), and log p has an error of mean 0. None: the exact trace,
        at the cost of a pass for each number of a picture.
    rtol, atol: tolerances of the solver, for the pictures and for the logarithm of the density divided by its
        dimensions.
    start: as of `flow_to_noise`.
    Returns nats, (B,) float64. That of a picture depends on no other if the denoiser keeps them apart.
    Raises ValueError as `dormand_prince`.
    Source: Song et al. 2021 (score SDE), eq. 39 and 40; Hutchinson 1990.
    """
    dimensions, alpha = x0[0].numel(), _alpha(schedule, start)

    def field(t: Tensor, state: State) -> State:
        with torch.enable_grad():
            xt = state[0].detach().requires_grad_()
            velocity = flow_field(denoise, xt, t, schedule, cond)
        found = divergence(velocity, xt, probe)
        return velocity.detach(), found / dimensions

    with torch.no_grad():
        nothing = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        x, gained = dormand_prince(field, (x0 * alpha, nothing), start, 1.0, rtol=rtol, atol=atol)
        sigma = schedule.sigma(torch.ones((), dtype=torch.float64)).item()
        squares = picture_sums((x.double() / sigma).square())
        prior = -0.5 * squares - dimensions * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
        # The density of x0 = x/alpha, not of x.
        return prior + dimensions * (gained + math.log(alpha))


def divergence(out: Tensor, x: Tensor, probe: Tensor | None) -> Tensor:
    """The trace of the Jacobian of out by x for each picture, (B,) float64: estimated with a probe, or exact.

    out: (B, *), computed from x, each picture from its own.
    x: (B, *), requires gradients.
    probe: as of `log_likelihood`.
    """
    if probe is not None:
        (product,) = torch.autograd.grad(out, x, probe.to(out))
        return picture_sums((product * probe.to(out)).double())
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for index in range(x[0].numel()):
        one = torch.zeros_like(out)
        one.view(len(x), -1)[:, index] = 1
        (row,) = torch.autograd.grad(out, x, one, retain_graph=True)
        total += row.reshape(len(x), -1)[:, index].double()
    return total
