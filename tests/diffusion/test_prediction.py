import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.diffusion.denoiser import NetworkDenoiser, gaussian_denoiser, noised
from unstir.diffusion.prediction import PREDICTIONS, Prediction, eps_of, score
from unstir.diffusion.schedule import SCHEDULES, Cosine, Flow, named_schedule

VALID = [(p, s) for p in PREDICTIONS for s in SCHEDULES if not (p == "eps" and s in ("flow", "cosine"))]


def draw(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(2))


def at(schedule, t):
    t = torch.tensor(t, dtype=torch.float64)
    return schedule.alpha(t), schedule.sigma(t)


@pytest.mark.parametrize(("name", "schedule"), VALID)
@settings(deadline=None)
@given(t=st.floats(1e-3, 1))
def test_round_trip(name, schedule, t):
    alpha, sigma = at(named_schedule(schedule), t)
    x0, eps = draw()
    xt = alpha * x0 + sigma * eps
    prediction = Prediction(name)
    back = prediction.to_x0(prediction.from_x0(x0, xt, alpha, sigma), xt, alpha, sigma)
    # a·xt cancels between the two ways; with eps, 1/alpha multiplies its rounding.
    torch.testing.assert_close(back, x0, rtol=0, atol=1e-13 * max(1.0, sigma.item() / max(alpha.item(), 0.005)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.05, 0.5, 0.9, 1.0])
def test_targets_are_their_formulas_on_every_schedule(schedule, t):
    alpha, sigma = at(named_schedule(schedule), t)
    x0, eps = draw()
    xt = alpha * x0 + sigma * eps
    expected = {"x0": x0, "v": alpha * eps - sigma * x0, "velocity": eps - x0}
    if alpha > 0:
        expected["eps"] = eps
    for name, target in expected.items():
        got = Prediction(name).from_x0(x0, xt, alpha, sigma)
        torch.testing.assert_close(got, target, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["v", "velocity", "edm"])
def test_at_pure_noise_the_output_alone_says_what_the_picture_is(name):
    x0, eps = draw()
    alpha, sigma = at(Flow(), 1.0)
    out = {"v": -x0, "velocity": eps - x0, "edm": x0 / 0.5}[name]
    torch.testing.assert_close(Prediction(name).to_x0(out, eps, alpha, sigma), x0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.01, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_is_karras_2022(schedule, t, sigma_data):
    alpha, sigma = (value.item() for value in at(named_schedule(schedule), t))
    x0, eps = draw()
    xt = alpha * x0 + sigma * eps
    # Table 1, in Karras's coordinates: x = y + n, n ~ N(0, noise²).
    x, noise = xt / alpha, sigma / alpha
    c_skip = sigma_data**2 / (noise**2 + sigma_data**2)
    c_out = noise * sigma_data / math.sqrt(noise**2 + sigma_data**2)
    c_in = 1 / math.sqrt(noise**2 + sigma_data**2)
    seen = {}

    def network(x_in, level, cond):
        seen["x_in"] = x_in
        return torch.sin(x_in) + 0.3

    got = NetworkDenoiser(network, named_schedule(schedule), Prediction("edm", sigma_data))(
        xt[:, None], torch.full((64,), t, dtype=torch.float64), None
    )[:, 0]
    torch.testing.assert_close(seen["x_in"][:, 0], c_in * x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got, c_skip * x + c_out * (torch.sin(c_in * x) + 0.3), rtol=1e-12, atol=1e-12)
    # Eq. 8: the target of F.
    target = Prediction("edm", sigma_data).from_x0(x0, xt, *at(named_schedule(schedule), t))
    torch.testing.assert_close(target, (x0 - c_skip * x) / c_out, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_edm_target_has_unit_variance(schedule):
    generator = torch.Generator().manual_seed(1)
    x0 = 0.5 * torch.randn(200_000, generator=generator, dtype=torch.float64)
    eps = torch.randn(200_000, generator=generator, dtype=torch.float64)
    for t in (0.02, 0.4, 0.95, 1.0):
        alpha, sigma = at(named_schedule(schedule), t)
        target = Prediction("edm", 0.5).from_x0(x0, alpha * x0 + sigma * eps, alpha, sigma)
        # The standard error of a variance of 200,000 is 0.0032.
        assert target.var().item() == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_network_sees_unit_variance_and_the_clipped_level(schedule):
    schedule = named_schedule(schedule)
    generator = torch.Generator().manual_seed(2)
    x0 = 0.5 * torch.randn(8, 20_000, generator=generator)
    t = torch.tensor([1e-9, 0.01, 0.1, 0.3, 0.6, 0.9, 0.99, 1.0])
    xt = noised(x0, torch.randn(x0.shape, generator=generator), t, schedule)
    seen = {}

    def network(x, level, cond):
        seen.update(x=x, level=level, cond=cond)
        return x

    NetworkDenoiser(network, schedule)(xt, t, "words")
    assert seen["cond"] == "words"
    torch.testing.assert_close(seen["x"].var(dim=1), torch.ones(8), rtol=0, atol=0.06)
    exact = 2 * torch.log(schedule.alpha(t.double()) / schedule.sigma(t.double()))
    assert seen["level"].dtype == torch.float32
    torch.testing.assert_close(seen["level"], exact.clamp(-20, 20).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_score_is_the_gradient_of_the_log_density(schedule, t):
    schedule = named_schedule(schedule)
    mean, std = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    alpha, sigma = at(schedule, t)
    xt = (alpha * draw()[0] + sigma * draw()[1]).requires_grad_()
    density = torch.distributions.Normal(alpha * mean, (alpha**2 * std**2 + sigma**2).sqrt())
    (gradient,) = torch.autograd.grad(density.log_prob(xt).sum(), xt)
    times = torch.full((64,), t, dtype=torch.float64)
    x0 = gaussian_denoiser(mean, std, schedule)(xt.detach(), times, None)
    torch.testing.assert_close(score(x0, xt.detach(), alpha, sigma), gradient, rtol=1e-10, atol=1e-10)


def test_score_is_minus_eps_over_sigma():
    x0, eps = draw()
    alpha, sigma = torch.tensor(0.6), torch.tensor(0.8)
    xt = alpha * x0 + sigma * eps
    torch.testing.assert_close(eps_of(x0, xt, alpha, sigma), eps)
    torch.testing.assert_close(score(x0, xt, alpha, sigma), -eps / sigma)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()])
def test_eps_is_refused_where_the_path_ends_in_pure_noise(schedule):
    with pytest.raises(ValueError, match=re.escape(type(schedule).__name__)):
        NetworkDenoiser(lambda x, level, cond: x, schedule, Prediction("eps"))


@pytest.mark.parametrize(("name", "schedule"), VALID)
def test_every_other_combination_is_built_and_is_finite_at_both_ends(name, schedule):
    denoise = NetworkDenoiser(lambda x, level, cond: torch.tanh(x), named_schedule(schedule), Prediction(name))
    xt = torch.linspace(-3, 3, 8).reshape(2, 4)
    assert denoise(xt, torch.tensor([1.0, 1e-6]), None).isfinite().all()


def test_bad_names_and_sigma_data_raise():
    with pytest.raises(ValueError, match="'epsilon'; there are: x0, eps"):
        Prediction("epsilon")
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="sigma_data"):
            Prediction("edm", bad)
