"""The probability flow against what is known: Gaussian data, mixtures of Gaussians, and equations with solutions."""

import itertools
import math

import pytest
import torch

from unstir.diffusion.denoiser import gaussian_denoiser, mixture_denoiser, per_picture
from unstir.diffusion.noise import LIKELIHOOD, batch_rademacher
from unstir.diffusion.ode import START, divergence, flow_to_noise, flow_to_picture, log_likelihood
from unstir.diffusion.runge_kutta import dormand_prince
from unstir.diffusion.schedule import SCHEDULES, VarianceExploding, named_schedule

SONG_VE = VarianceExploding(0.01, 50)
PROCESSES = {name: named_schedule(name) for name in SCHEDULES} | {"ve of song": SONG_VE}


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The solver


def oscillator(t, state):
    position, velocity = state
    return velocity, -position


@pytest.mark.parametrize(("start", "end"), [(0.0, 3.0), (3.0, -1.0)])
def test_an_equation_with_a_known_solution(start, end):
    at = torch.linspace(0, 2, 5, dtype=torch.float64)[:, None]
    errors = []
    for tolerance in (1e-4, 1e-6, 1e-8):
        state = (torch.sin(start + at), torch.cos(start + at))
        position, velocity = dormand_prince(oscillator, state, start, end, rtol=tolerance, atol=tolerance)
        assert (velocity - torch.cos(end + at)).abs().max() < 20 * tolerance
        errors.append((position - torch.sin(end + at)).abs().max().item())
        assert errors[-1] < 20 * tolerance
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_it_takes_few_steps():
    calls = []

    def counted(t, state):
        calls.append(t)
        return oscillator(t, state)

    dormand_prince(counted, (double([[0.0]]), double([[1.0]])), 0.0, 3.0, rtol=1e-6, atol=1e-6)
    assert 30 < len(calls) < 200
    assert all(0 <= t.item() <= 3 for t in calls)


def test_a_picture_has_its_own_steps():
    """A fast one beside slow ones: each has the very bits that it has alone."""
    speed = double([1.0, 40.0, 3.0])

    def field_of(speed):
        return lambda t, state: (-per_picture(speed, state[0]) * state[0].sin() + per_picture(t, state[0]),)

    x = normal(3, 4)
    (together,) = dormand_prince(field_of(speed), (x,), 0.0, 1.0)
    for i in range(3):
        (alone,) = dormand_prince(field_of(speed[i : i + 1]), (x[i : i + 1],), 0.0, 1.0)
        assert torch.equal(alone[0], together[i])


def test_a_step_that_is_far_too_long_is_taken_back():
    """From 1e-3 of the interval on: the first steps would make x infinite."""
    (x,) = dormand_prince(lambda t, state: (-1e7 * state[0] ** 3,), (double([[1.0]]),), 0.0, 1.0)
    assert x.item() == pytest.approx(1 / math.sqrt(1 + 2e7), rel=0.05)


def test_what_cannot_be_solved_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="must be positive, got rtol=0"):
        dormand_prince(oscillator, (double([[1.0]]), double([[1.0]])), 0.0, 1.0, rtol=0)
    monkeypatch.setattr("unstir.diffusion.runge_kutta.MAX_STEPS", 50)
    with pytest.raises(ValueError, match="not solved in 50 steps; take larger tolerances"):
        dormand_prince(lambda t, state: (state[0] * math.nan,), (double([[1.0]]),), 0.0, 1.0)


# Gaussian data

STD = double([0.5, 0.3, 0.8])


def flow_of(schedule, x0, mean, start=START):
    """The flow map of Gaussian data from alpha·x0 at `start` to t = 1: the quantile is kept. And its log derivative."""
    t = double([start, 1.0])
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    spread = ((alpha[:, None] * STD) ** 2 + sigma[:, None] ** 2).sqrt()
    x1 = alpha[1] * mean + spread[1] / spread[0] * alpha[0] * (x0 - mean)
    return x1, (alpha[0] * spread[1] / spread[0]).log().sum(), sigma[1]


@pytest.mark.parametrize("name", PROCESSES)
def test_likelihood_of_gaussian_data_is_the_closed_form(name):
    """Up to what the noise at t = 1 does not know of the data, which is below 1e-3 for data of mean 0."""
    schedule = PROCESSES[name]
    x0 = STD * normal(4, 3)
    denoise = gaussian_denoiser(torch.zeros(3, dtype=torch.float64), STD, schedule)
    found = log_likelihood(denoise, x0, schedule, None, None)
    assert found.dtype == torch.float64
    # At START the schedule of Song's VE process has noise of deviation 0.01 already.
    ratio = (schedule.sigma(double(START)) / schedule.alpha(double(START))).item()
    density = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), (STD**2 + ratio**2).sqrt())
    torch.testing.assert_close(found, density.log_prob(x0).sum(1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", PROCESSES)
def test_likelihood_is_that_of_the_model_exactly(name):
    """That of drawing N(0, sigma(1)²) and decoding, also where the data's mean is not forgotten at t = 1."""
    schedule, mean = PROCESSES[name], double([0.3, -0.2, 0.1])
    x0 = mean + STD * normal(4, 3)
    denoise = gaussian_denoiser(mean, STD, schedule)
    x1, log_rate, sigma = flow_of(schedule, x0, mean)
    noise = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), sigma)
    expected = noise.log_prob(x1).sum(1) + log_rate
    for tolerance, error in ((1e-4, 2e-3), (1e-6, 2e-5)):  # the answer does not depend on the tolerance
        found = log_likelihood(denoise, x0, schedule, None, None, tolerance, tolerance)
        torch.testing.assert_close(found, expected, rtol=0, atol=error)
    # The Jacobian is diagonal, so any signs give its trace.
    signs = batch_rademacher((3,), range(4), 0)
    torch.testing.assert_close(log_likelihood(denoise, x0, schedule, None, signs), expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("name", PROCESSES)
def test_encoding_is_the_flow_map_and_decoding_its_inverse(name):
    schedule, mean = PROCESSES[name], double([0.3, -0.2, 0.1])
    x0 = mean + STD * normal(4, 3)
    denoise = gaussian_denoiser(mean, STD, schedule)
    noise = flow_to_noise(denoise, x0, schedule, None, rtol=1e-7, atol=1e-7)
    expected, _, sigma = flow_of(schedule, x0, mean)
    torch.testing.assert_close(noise / sigma, expected / sigma, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        flow_to_picture(denoise, noise, schedule, None, rtol=1e-7, atol=1e-7), x0, rtol=0, atol=1e-5
    )


# Mixtures of Gaussians, whose field is not linear

CENTRES, WIDTH = double([[-0.6, 0.1], [0.5, 0.6], [0.4, -0.7]]), 0.15


WEIGHTS = double([0.5, 0.2, 0.3])


def mixture(schedule):
    return mixture_denoiser(CENTRES, WIDTH, WEIGHTS, schedule)


@pytest.mark.parametrize("name", ["flow", "linear-beta", "sub-vp", "variance-exploding"])
def test_likelihood_of_a_mixture_is_its_density(name):
    schedule = PROCESSES[name]
    x0 = double([[-0.6, 0.1], [0.45, -0.5], [0.0, 0.2], [0.5, 0.3]])
    parts = torch.distributions.Normal(CENTRES, WIDTH).log_prob(x0[:, None]).sum(-1)
    expected = torch.logsumexp(parts + WEIGHTS.log(), 1)
    found = log_likelihood(mixture(schedule), x0, schedule, None, None, 1e-6, 1e-6)
    # As with Gaussian data, alpha(1)·mean is not quite 0.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 if name == "flow" else 0.03)
    noise = flow_to_noise(mixture(schedule), x0, schedule, None, rtol=1e-8, atol=1e-8)
    back = flow_to_picture(mixture(schedule), noise, schedule, None, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(back, x0, rtol=0, atol=1e-5)


def test_the_likelihood_of_a_picture_depends_on_no_other():
    schedule = PROCESSES["sub-vp"]
    x0, signs = normal(5, 2) * 0.4, batch_rademacher((2,), range(5), 1, LIKELIHOOD)
    together = log_likelihood(mixture(schedule), x0, schedule, None, signs)
    for i in range(5):
        row = slice(i, i + 1)
        alone = log_likelihood(mixture(schedule), x0[row], schedule, None, signs[row])
        assert torch.equal(alone[0], together[i])


def test_the_mean_of_hutchinsons_estimate_is_the_trace():
    """Over all 2^4 vectors of signs it is exact."""
    weight = normal(4, 4, seed=3)

    def function(x):
        return torch.tanh(x @ weight) * x.sum(1, keepdim=True)

    x = normal(1, 4).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(function, x)[0, :, 0]
    exact = divergence(function(x), x, None)
    assert exact.item() == pytest.approx(jacobian.trace().item(), rel=1e-12)
    probes = double(list(itertools.product((-1.0, 1.0), repeat=4)))
    many = x.detach().repeat(16, 1).requires_grad_()
    found = divergence(function(many), many, probes)
    expected = torch.einsum("bi,ij,bj->b", probes, jacobian, probes)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert found.mean().item() == pytest.approx(exact.item(), rel=1e-12)
    assert found.std() > 0.1


def test_signs():
    signs = batch_rademacher((3, 40, 40), [4, 5], 1, LIKELIHOOD)
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 5 / math.sqrt(signs.numel())
    assert abs((signs[0] * signs[1]).mean().item()) < 5 / math.sqrt(signs[0].numel())
    assert torch.equal(batch_rademacher((3, 40, 40), [5], 1, LIKELIHOOD)[0], signs[1])
