"""Drift and diffusion of every schedule: their definition, the paper's closed forms, and the marginals they lead to."""

import math

import pytest
import torch

from unstir.diffusion.denoiser import gaussian_denoiser
from unstir.diffusion.ode import flow_field
from unstir.diffusion.prediction import score
from unstir.diffusion.runge_kutta import dormand_prince
from unstir.diffusion.schedule import SCHEDULES, LinearBeta, SubVariancePreserving, VarianceExploding, named_schedule
from unstir.diffusion.score_sde import drift_and_diffusion, rates

TIMES = torch.tensor([0.01, 0.1, 0.35, 0.6, 0.85, 0.99], dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_they_are_the_finite_differences_of_alpha_and_sigma(name):
    schedule, h = named_schedule(name), 1e-5

    def slope(function):
        return (function(TIMES + h) - function(TIMES - h)) / (2 * h)

    f, g2 = drift_and_diffusion(schedule, TIMES)
    torch.testing.assert_close(f, slope(lambda t: schedule.alpha(t).log()), rtol=1e-6, atol=1e-9)
    expected = slope(lambda t: schedule.sigma(t).square()) - 2 * f * schedule.sigma(TIMES).square()
    torch.testing.assert_close(g2, expected, rtol=1e-6, atol=1e-9)
    assert (g2 > 0).all()
    found = rates(schedule, TIMES)
    assert torch.equal(found.alpha, schedule.alpha(TIMES))
    assert torch.equal(found.sigma, schedule.sigma(TIMES))
    torch.testing.assert_close(found.sigma_rate, slope(schedule.sigma), rtol=1e-6, atol=1e-9)


def test_they_are_the_closed_forms_of_the_paper():
    """Song et al. 2021, eq. 30 (VE), 32 (VP) and section 3.4 (sub-VP)."""
    beta = 0.1 + 19.9 * TIMES
    total = 0.1 * TIMES + 19.9 * TIMES**2 / 2
    for schedule, g2 in ((LinearBeta(), beta), (SubVariancePreserving(), beta * (1 - torch.exp(-2 * total)))):
        found = drift_and_diffusion(schedule, TIMES)
        torch.testing.assert_close(found[0], -beta / 2, rtol=1e-12, atol=0)
        torch.testing.assert_close(found[1], g2, rtol=1e-10, atol=0)
    f, g2 = drift_and_diffusion(VarianceExploding(0.01, 50), TIMES)
    assert (f == 0).all()
    sigma = 0.01 * 5000**TIMES
    torch.testing.assert_close(g2.sqrt(), sigma * math.sqrt(2 * math.log(5000)), rtol=1e-12, atol=0)


def test_sub_vp_has_the_variance_of_vp_as_its_deviation():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    vp, sub = LinearBeta(), SubVariancePreserving()
    assert torch.equal(vp.alpha(t), sub.alpha(t))
    torch.testing.assert_close(sub.sigma(t), vp.sigma(t).square(), rtol=1e-12, atol=0)
    assert (drift_and_diffusion(sub, t[1:])[1] < drift_and_diffusion(vp, t[1:])[1]).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_sde_has_the_marginals_of_the_schedule_at_every_time(name):
    """Of x0 ~ N(m, v): dm/dt = f·m and dv/dt = 2·f·v + g² lead to alpha·m and alpha²·v + sigma²."""
    schedule, m, v = named_schedule(name), 0.7, 0.09

    def moments(t):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return alpha * m, alpha**2 * v + sigma**2

    def field(t, state):
        f, g2 = drift_and_diffusion(schedule, t)
        return f * state[0], 2 * f * state[1] + g2

    start = 0.02
    state = moments(torch.tensor([start], dtype=torch.float64))
    for end in (0.1, 0.5, 0.9, 0.99):
        state = dormand_prince(field, state, start, end, rtol=1e-9, atol=1e-9)
        for found, expected in zip(state, moments(torch.tensor([end], dtype=torch.float64)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        start = end


@pytest.mark.parametrize("name", ["linear-beta", "cosine"])
def test_unit_noise_is_stationary_where_variance_is_preserved(name):
    """dv/dt = 2·f + g² is 0 at v = 1, and the flow of unit data stands still."""
    schedule = named_schedule(name)
    f, g2 = drift_and_diffusion(schedule, TIMES)
    torch.testing.assert_close(2 * f + g2, torch.zeros_like(f), rtol=0, atol=1e-10)
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    x = torch.linspace(-2, 2, 6, dtype=torch.float64)[:, None]
    moved = flow_field(gaussian_denoiser(zero, one, schedule), x, TIMES, schedule, None)
    assert moved.abs().max() < 1e-10


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_field_of_the_flow_is_the_papers(name):
    """Song et al. 2021, eq. 13: f·x - g²/2·score."""
    schedule = named_schedule(name)
    mean, std = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    denoise = gaussian_denoiser(mean, std, schedule)
    x = torch.linspace(-2, 3, 6, dtype=torch.float64)[:, None]
    f, g2 = (one[:, None] for one in drift_and_diffusion(schedule, TIMES))
    alpha, sigma = schedule.alpha(TIMES)[:, None], schedule.sigma(TIMES)[:, None]
    expected = f * x - g2 / 2 * score(denoise(x, TIMES, None), x, alpha, sigma)
    torch.testing.assert_close(flow_field(denoise, x, TIMES, schedule, None), expected, rtol=1e-9, atol=1e-9)
