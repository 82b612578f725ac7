"""Inversion on Gaussian data, whose denoiser is exact; great circles between noises and seeds."""

import math

import pytest
import torch

from unstir.diffusion.denoiser import per_picture
from unstir.diffusion.grid import time_grid
from unstir.diffusion.inversion import ddim_inversion
from unstir.diffusion.noise import Between, batch_gumbel, normal, slerp, uniform
from unstir.diffusion.sampler import levels_of
from unstir.diffusion.samplers.ddim import ddim
from unstir.diffusion.schedule import named_schedule

MEAN, STD = 0.3, 0.5
SCHEDULE = named_schedule("flow")


def exact(xt, t, cond):
    alpha, sigma = per_picture(SCHEDULE.alpha(t), xt), per_picture(SCHEDULE.sigma(t), xt)
    gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    return MEAN + gain * (xt - alpha * MEAN)


def test_inversion_leads_back_to_the_noise():
    levels = levels_of(SCHEDULE, time_grid(SCHEDULE, 200))
    start = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    *_, last = ddim(exact, start * levels[0].sigma, None, levels, lambda step: start)
    back = ddim_inversion(exact, last.x0, None, levels)
    assert (back - start).abs().max() < 0.03
    *_, again = ddim(exact, back * levels[0].sigma, None, levels, lambda step: start)
    assert (again.x0 - last.x0).abs().max() < 0.01


def test_more_iterations_invert_better():
    """The walk begins where the last step but one ends, so that every step it inverts is a step that was taken."""
    levels = levels_of(SCHEDULE, time_grid(SCHEDULE, 10))
    start = torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    *_, last = ddim(exact, start, None, levels, lambda step: start)
    errors = [
        (ddim_inversion(exact, last.xt / levels[-2].alpha, None, levels, iterations=n) - start).abs().mean()
        for n in (1, 3, 40)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_slerp():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 300, generator=generator), 2 * torch.randn(5, 300, generator=generator)
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-5)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-5)
    half = slerp(a, b, 0.5)
    assert torch.allclose(half.norm(dim=1), (a.norm(dim=1) + b.norm(dim=1)) / 2, rtol=1e-5)

    def angle(x, y):
        return torch.acos(torch.nn.functional.cosine_similarity(x.double(), y.double()))

    assert torch.allclose(angle(a, half), angle(half, b), atol=1e-5)
    assert torch.allclose(slerp(a, a, 0.4), a, atol=1e-5)
    assert slerp(a, -a, 0.3).isfinite().all()


def test_between_two_seeds():
    shape = (3, 16, 16)
    ends = [normal(shape, seed, 2) for seed in (5, 9)]
    assert torch.allclose(normal(shape, Between(5, 9, 0.0), 2), ends[0], atol=1e-5)
    assert torch.allclose(normal(shape, Between(5, 9, 1.0), 2), ends[1], atol=1e-5)
    middle = normal(shape, Between(5, 9, 0.5), 2)
    assert middle.std().item() == pytest.approx(1, abs=0.06)
    assert uniform(shape, Between(5, 9, 0.5), 2).mean().item() == pytest.approx(0.5, abs=0.04)
    assert torch.allclose(uniform(shape, Between(5, 9, 1.0), 2), uniform(shape, 9, 2), atol=1e-6)


def test_gumbel_noise():
    noise = batch_gumbel((20_000,), [1], 0)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.std().item() == pytest.approx(math.pi / math.sqrt(6), abs=0.03)
