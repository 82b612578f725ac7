"""Our samplers against diffusers' schedulers: the same denoiser, the same times, the same noise.

The denoiser is a fixed nonlinear function, so that every extrapolation and every coefficient shows.
"""

import math

import diffusers
import numpy as np
import pytest
import torch

from unstir.diffusion.grid import time_grid
from unstir.diffusion.sampler import Level, levels_of, named_sampler
from unstir.diffusion.schedule import Flow

STEPS = 17

# diffusers 0.42 hands tensors to np.array in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def f(xt, t):
    """A denoiser that is nonlinear in both arguments; t in [0, 1]."""
    return torch.tanh(1.3 * xt + 0.4) * (1 - 0.5 * t) + 0.2 * torch.sin(5 * t + xt)


def denoise(xt, t, cond):
    return f(xt, t.reshape(-1, 1).to(xt.dtype))


def refuse(i):
    raise AssertionError("a deterministic sampler asked for noise")


def start():
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def levels_from(scheduler, timesteps):
    """diffusers' discrete times as levels: alpha = sqrt(alphas_cumprod)."""
    levels = []
    for t in timesteps:
        abar = scheduler.alphas_cumprod[int(t)].item()
        levels.append(Level(int(t) / 1000, math.sqrt(abar), math.sqrt(1 - abar)))
    return [*levels, Level(0.0, 1.0, 0.0)]


def ours(sampler, xt, levels, noise=refuse, **options):
    *_, last = named_sampler(sampler)(denoise, xt, None, levels, noise, **options)
    return last.x0


@pytest.mark.parametrize("beta", ["linear", "scaled_linear"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta, beta):
    scheduler = diffusers.DDIMScheduler(beta_schedule=beta, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    noise = [torch.randn(3, 5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(STEPS)]
    x = start()
    for i, t in enumerate(scheduler.timesteps):
        more = {"variance_noise": noise[(i + 1) % STEPS]} if eta else {}
        x = scheduler.step(f(x, int(t) / 1000), t, x, eta=eta, **more).prev_sample
    levels = levels_from(scheduler, scheduler.timesteps)
    got = ours("ddim", start(), levels, noise.__getitem__ if eta else refuse, eta=eta)
    # Their coefficients come from float32 alphas_cumprod, 1 - alphas_cumprod in float32 included.
    torch.testing.assert_close(got, x, rtol=0, atol=2e-5)


def test_ddpm():
    scheduler = diffusers.DDPMScheduler(prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(3)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(f(x, int(t) / 1000), t, x, generator=generator).prev_sample
    generator = torch.Generator().manual_seed(3)

    def noise(i):
        return torch.randn(3, 5, generator=generator, dtype=torch.float64)

    got = ours("ddpm", start(), levels_from(scheduler, scheduler.timesteps), noise)
    torch.testing.assert_close(got, x, rtol=0, atol=5e-5)


def test_euler():
    scheduler = diffusers.EulerDiscreteScheduler(prediction_type="sample", timestep_spacing="leading")
    scheduler.set_timesteps(STEPS)
    # It lives in x/alpha: the start is multiplied by sigma/alpha instead of sigma.
    levels = levels_from(scheduler, scheduler.timesteps)
    x = start() * levels[0].sigma / levels[0].alpha
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        scaled = scheduler.scale_model_input(x, t)
        # Variance preserving: x/alpha scaled by 1/sqrt(1 + (sigma/alpha)²) = alpha is our xt.
        torch.testing.assert_close(scaled, x * level.alpha, rtol=1e-5, atol=0)
        x = scheduler.step(f(scaled, level.t), t, x).prev_sample
    got = ours("euler", start() * levels[0].sigma, levels)
    torch.testing.assert_close(got, x.double(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("steps", [8, STEPS, 40])
def test_dpmpp_2m(steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(f(x, int(t) / 1000), t, x).prev_sample
    got = ours("dpmpp_2m", start(), levels_from(scheduler, scheduler.timesteps))
    torch.testing.assert_close(got, x, rtol=0, atol=5e-5)


@pytest.mark.parametrize("steps", [8, STEPS])
def test_sde(steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="sample",
        algorithm_type="sde-dpmsolver++",
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    noise = [torch.randn(3, 5, generator=torch.Generator().manual_seed(i)).double() for i in range(steps)]
    x = start()
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(f(x, int(t) / 1000), t, x, variance_noise=noise[(i + 1) % steps]).prev_sample
    got = ours("sde", start(), levels_from(scheduler, scheduler.timesteps), noise.__getitem__)
    torch.testing.assert_close(got, x, rtol=0, atol=5e-5)


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_match_euler(sampler, shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS))
    x = start()
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1].tolist(), strict=True):
        velocity = (x - f(x, sigma)) / sigma  # eps - x0
        x = scheduler.step(velocity, t, x.float()).prev_sample.double()
    got = ours(sampler, start(), levels_of(Flow(), time_grid(Flow(), STEPS, shift=shift)))
    # Their step runs in float32.
    torch.testing.assert_close(got, x, rtol=0, atol=1e-5)
