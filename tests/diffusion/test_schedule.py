import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.diffusion.schedule import (
    SCHEDULES,
    Cosine,
    Flow,
    LinearBeta,
    VarianceExploding,
    logsnr,
    named_schedule,
)


def at(*t):
    return torch.tensor(t, dtype=torch.float64)


def test_ends_of_flow_and_cosine_are_exact():
    for schedule in (Flow(), Cosine()):
        assert schedule.alpha(at(0, 1)).tolist() == [1, 0]
        assert schedule.sigma(at(0, 1)).tolist() == [0, 1]


def test_ends_of_linear_beta():
    alpha, sigma = LinearBeta().alpha(at(0, 1)).tolist(), LinearBeta().sigma(at(0, 1)).tolist()
    assert alpha[0] == 1
    assert sigma[0] == 0
    # Integral of beta over [0, 1] is 10.05, so alpha² = exp(-10.05).
    assert alpha[1] == pytest.approx(math.exp(-10.05 / 2), rel=1e-14)
    assert sigma[1] == pytest.approx(math.sqrt(1 - math.exp(-10.05)), rel=1e-14)


def test_ends_of_variance_exploding():
    schedule = VarianceExploding(0.01, 50)
    assert schedule.alpha(at(0, 0.3, 1)).tolist() == [1, 1, 1]
    assert schedule.sigma(at(0, 0.5, 1)).tolist() == pytest.approx([0.01, math.sqrt(0.01 * 50), 50], rel=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_alpha_at_noise_is_alpha_of_1(name):
    schedule = named_schedule(name)
    assert schedule.alpha_at_noise == pytest.approx(schedule.alpha(at(1)).item(), rel=1e-14, abs=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_logsnr_falls_all_the_way(name):
    values = logsnr(named_schedule(name), torch.linspace(0, 1, 2001, dtype=torch.float64))
    assert (values[1:] < values[:-1]).all()


@pytest.mark.parametrize("name", ["cosine", "linear-beta"])
def test_variance_preserving(name):
    schedule, t = named_schedule(name), torch.linspace(0, 1, 1001, dtype=torch.float64)
    total = schedule.alpha(t).square() + schedule.sigma(t).square()
    torch.testing.assert_close(total, torch.ones_like(t), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None)
@given(t=st.floats(1e-6, 1 - 1e-6))
def test_t_of_logsnr_is_the_inverse(name, t):
    schedule = named_schedule(name)
    assert schedule.t_of_logsnr(logsnr(schedule, at(t))).item() == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None)
@given(value=st.floats(-60, 60))
def test_logsnr_of_t_is_the_value_or_the_nearest_end(name, value):
    schedule = named_schedule(name)
    most, least = logsnr(schedule, at(0, 1)).tolist()
    t = schedule.t_of_logsnr(at(value))
    assert 0 <= t.item() <= 1
    # Near t = 1 the spacing of floats is 1e-16: that is what limits alpha of flow and cosine.
    if value > -30:
        assert logsnr(schedule, t).item() == pytest.approx(min(max(value, least), most), abs=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
def test_t_of_infinite_logsnr_is_an_end(name):
    assert named_schedule(name).t_of_logsnr(at(math.inf, -math.inf)).tolist() == [0, 1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_shape_and_dtype(name):
    schedule = named_schedule(name)
    for dtype in (torch.float32, torch.float64):
        t = torch.full((2, 3), 0.25, dtype=dtype)
        for value in (schedule.alpha(t), schedule.sigma(t), schedule.t_of_logsnr(t)):
            assert value.shape == t.shape
            assert value.dtype == dtype


@pytest.mark.parametrize(("low", "high"), [(0, 20), (-1, 20), (20, 20), (20, 0.1), (math.nan, 1), (0.1, math.nan)])
def test_bad_ranges_raise(low, high):
    with pytest.raises(ValueError, match="must rise"):
        LinearBeta(low, high)
    with pytest.raises(ValueError, match="must rise"):
        VarianceExploding(low, high)


def test_an_unknown_name_raises_and_tells_the_known():
    with pytest.raises(ValueError, match="'linear'; there are: flow, cosine"):
        named_schedule("linear")


def test_linear_beta_is_the_limit_of_ddpm():
    """DDPM with T steps of rate (1e-4 … 0.02)·1000/T: its discrete alphas approach ours as 1/T."""
    from diffusers import DDPMScheduler

    errors = []
    for steps in (1_000, 10_000, 100_000):
        scale = 1000 / steps
        theirs = DDPMScheduler(steps, beta_start=1e-4 * scale, beta_end=0.02 * scale, beta_schedule="linear")
        t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        ours = LinearBeta().alpha(t).square()
        # Their product of 100,000 factors runs in float32; do it again in float64 from their betas.
        exact = (1 - theirs.betas.double()).cumprod(0)
        assert (exact - theirs.alphas_cumprod).abs().max() < 2e-4
        errors.append((exact - ours).abs().max().item())
    assert errors[0] < 2e-3
    assert errors[1] < 2e-4
    assert errors[2] < 2e-5
