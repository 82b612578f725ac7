import itertools
import math

import pytest
import torch

from unstir.diffusion.chain import (
    bits_per_dim,
    data_term,
    gaussian_kl,
    posterior,
    prior_term,
    step_term,
    transition,
)
from unstir.diffusion.denoiser import gaussian_denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.sampler import Level, levels_of
from unstir.diffusion.schedule import SCHEDULES, Flow, LinearBeta, VarianceExploding, named_schedule

MEAN, STD = 0.1, 0.3


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def level(schedule, t):
    return levels_of(schedule, [t, 0.0])[0]


def noise_of(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda i: torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("times", [(0.1, 0.2, 0.9), (0.3, 0.7, 1.0), (0.01, 0.5, 0.51)])
def test_transitions_compose(name, times):
    s, u, t = (level(named_schedule(name), time) for time in times)
    (a1, std1), (a2, std2), (a, std) = transition(u, s), transition(t, u), transition(t, s)
    assert a1 * a2 == pytest.approx(a, rel=1e-12)
    assert math.hypot(a2 * std1, std2) == pytest.approx(std, rel=1e-12)
    # And from s on they lead to the marginal at t.
    assert a * s.alpha == pytest.approx(t.alpha, rel=1e-12)
    assert math.hypot(a * s.sigma, std) == pytest.approx(t.sigma, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_is_bayes_rule(name):
    """q(x_s | x_t, x0) is proportional to q(x_t | x_s)·q(x_s | x0): multiplied out on a fine grid of x_s."""
    s, t = level(named_schedule(name), 0.3), level(named_schedule(name), 0.6)
    x0, xt = 0.4, 0.4 * t.alpha + 0.7 * t.sigma
    a, std = transition(t, s)
    centre = s.alpha * x0
    xs = torch.linspace(centre - 9 * s.sigma, centre + 9 * s.sigma, 200_001, dtype=torch.float64)
    log = -0.5 * ((xt - a * xs) / std) ** 2 - 0.5 * ((xs - s.alpha * x0) / s.sigma) ** 2
    weight = torch.softmax(log, 0)
    mean = (weight * xs).sum().item()
    spread = math.sqrt((weight * (xs - mean) ** 2).sum().item())
    got_mean, got_std = posterior(double([x0]), double([xt]), t, s)
    assert got_mean.item() == pytest.approx(mean, rel=1e-8)
    assert got_std == pytest.approx(spread, rel=1e-8)


def test_kl_is_that_of_torch():
    mean, other = double([0.3, -2.0, 0.0]), double([0.1, 1.0, 0.0])
    for std, other_std in ((0.5, 0.5), (0.2, 3.0), (4.0, 0.7)):
        expected = torch.distributions.kl_divergence(
            torch.distributions.Normal(mean, double(std)), torch.distributions.Normal(other, double(other_std))
        )
        torch.testing.assert_close(gaussian_kl(mean, std, other, other_std), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_step_term_is_the_kl_of_the_two_posteriors(name):
    s, t = level(named_schedule(name), 0.4), level(named_schedule(name), 0.7)
    noise = noise_of((3, 2, 2))
    x0, x0_hat, xt = noise(0), noise(1), noise(2)
    (mean, std), (mean_hat, std_hat) = posterior(x0, xt, t, s), posterior(x0_hat, xt, t, s)
    assert std == std_hat
    expected = gaussian_kl(mean, std, mean_hat, std).flatten(1).sum(1)
    torch.testing.assert_close(step_term(x0, x0_hat, t, s), expected, rtol=1e-9, atol=1e-9)


def test_prior_term_is_zero_where_the_path_ends_in_pure_noise():
    x0 = noise_of((3, 2, 2))(0)
    for name in ("flow", "cosine"):
        assert torch.equal(prior_term(x0, level(named_schedule(name), 1.0)), torch.zeros(3, dtype=torch.float64))
    for schedule in (LinearBeta(), VarianceExploding()):
        end = level(schedule, 1.0)
        expected = 0.5 * (end.alpha / end.sigma) ** 2 * x0.square().sum((1, 2))
        torch.testing.assert_close(prior_term(x0, end), expected)


@pytest.mark.parametrize("bins", [2, 5, 256])
@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.8])
@pytest.mark.parametrize("guess", [-1.3, -0.7, 0.0, 0.31, 1.0])
def test_the_probabilities_of_all_bins_sum_to_1(bins, sigma, guess):
    values = torch.linspace(-1, 1, bins, dtype=torch.float64)[:, None]
    t = Level(0.1, 0.9, sigma)
    nll = data_term(values, torch.full_like(values, guess), t, bins)
    assert torch.exp(-nll).sum().item() == pytest.approx(1, rel=1e-12)


def test_a_bins_probability_is_the_integral_of_the_density():
    t, half = Level(0.1, 0.8, 0.04), 1 / 255
    x0, guess = double([[2 * 140 / 255 - 1]]), double([[0.12]])
    std = 0.04 / 0.8
    density = torch.distributions.Normal(guess.item(), std)
    upper, lower = density.cdf(x0 + half), density.cdf(x0 - half)
    torch.testing.assert_close(data_term(x0, guess, t, 256), -(upper - lower).log()[:, 0], rtol=1e-6, atol=0)


def test_a_bins_probability_far_out_is_still_finite():
    nll = data_term(double([[0.9], [-0.9]]), double([[-0.9], [0.9]]), Level(0.1, 1.0, 0.002), 256)
    # Almost all of it lies at the near edge of the bin: the square of the distance in standard deviations, halved.
    assert nll.tolist() == pytest.approx([0.5 * ((1.8 - 1 / 255) / 0.002) ** 2] * 2, rel=1e-4)


def test_continuous_data_term_is_the_density():
    x0, guess = noise_of((3, 4))(0), noise_of((3, 4))(1)
    expected = -torch.distributions.Normal(guess, double(0.3 / 0.6)).log_prob(x0).sum(1)
    torch.testing.assert_close(data_term(x0, guess, Level(0.3, 0.6, 0.3), None), expected)


def theory(levels):
    """The expected bound, in bits, for the exact denoiser of Gaussian data: E(x0 - x0_hat)² = 1/(1/STD² + SNR)."""
    total = 0.5 * (levels[0].alpha / levels[0].sigma) ** 2 * (STD**2 + MEAN**2)
    for t, s in itertools.pairwise(levels[:-1]):
        snr_t, snr_s = ((level.alpha / level.sigma) ** 2 for level in (t, s))
        total += 0.5 * (snr_s - snr_t) / (1 / STD**2 + snr_t)
    ratio = levels[-2].sigma / levels[-2].alpha
    total += 0.5 / (1 + (ratio / STD) ** 2) + math.log(ratio) + 0.5 * math.log(2 * math.pi)
    return total / math.log(2)


ENTROPY = 0.5 * math.log2(2 * math.pi * math.e * STD**2)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_bound_of_continuous_data_approaches_their_entropy_from_above(name):
    schedule, shape = named_schedule(name), (2000, 64)
    gaps = []
    for steps in (25, 100, 400, 1600):
        levels = levels_of(schedule, time_grid(schedule, steps, "logsnr", sigma_max=200, sigma_min=0.002))
        gaps.append(theory(levels) - ENTROPY)
        if steps != 100:
            continue
        noise = noise_of(shape)
        x0 = MEAN + STD * noise(-1)
        bound = bits_per_dim(gaussian_denoiser(double(MEAN), double(STD), schedule), x0, None, levels, noise, None)
        assert len(bound.steps) == steps - 1
        assert bound.total == pytest.approx(bound.prior + sum(bound.steps) + bound.data, rel=1e-14)
        # The code's bound is the theory's, and its error is small beside the gap of 0.8 bits.
        assert 0 < bound.standard_error < 0.01
        assert bound.total == pytest.approx(theory(levels), abs=5 * bound.standard_error)
        assert bound.total - 5 * bound.standard_error > ENTROPY
    # Above the entropy always, and first order in the number of steps.
    assert all(gap > 0 for gap in gaps)
    assert gaps[1] < gaps[0] / 3
    assert gaps[2] == pytest.approx(gaps[1] / 4, rel=0.2)
    assert gaps[3] == pytest.approx(gaps[2] / 4, rel=0.1)
    assert gaps[3] < 0.06


def test_the_standard_error_tells_the_spread_of_the_mean():
    schedule, shape = Flow(), (64, 16)
    levels = levels_of(schedule, time_grid(schedule, 20, "logsnr"))
    totals, claimed = [], []
    for seed in range(100):
        noise = noise_of(shape, seed)
        x0 = MEAN + STD * noise(-1)
        bound = bits_per_dim(gaussian_denoiser(double(MEAN), double(STD), schedule), x0, None, levels, noise, None)
        totals.append(bound.total)
        claimed.append(bound.standard_error)
    # The spread of 100 totals is known to 7 %.
    assert torch.tensor(totals).std().item() == pytest.approx(sum(claimed) / 100, rel=0.3)


@pytest.mark.parametrize("name", ["flow", "linear-beta"])
def test_the_bound_of_quantised_data_is_above_their_exact_bits(name):
    """256 values with the probabilities of a Gaussian; the exact denoiser is a weighted mean over all of them."""
    schedule, count, size = named_schedule(name), 100, 16
    values = torch.linspace(-1, 1, 256, dtype=torch.float64)
    log_p = torch.log_softmax(-0.5 * ((values - MEAN) / STD) ** 2, 0)
    exact = -(log_p.exp() * log_p).sum().item() / math.log(2)

    def denoise(xt, t, cond):
        alpha, sigma = schedule.alpha(t[:1]), schedule.sigma(t[:1])
        weight = torch.softmax(log_p - 0.5 * ((xt[..., None] - alpha * values) / sigma) ** 2, -1)
        return weight @ values

    generator = torch.Generator().manual_seed(5)
    x0 = values[torch.multinomial(log_p.exp(), count * size, replacement=True, generator=generator)]
    x0 = x0.reshape(count, size)
    steps = 200
    # The last noisy level leaves about half of half a bin: the picture is all but read off.
    levels = levels_of(schedule, time_grid(schedule, steps, "logsnr", sigma_max=5, sigma_min=0.3 / 255))
    bound = bits_per_dim(denoise, x0, None, levels, noise_of((count, size), seed=1))
    # The bits of these very pictures take the sampling of x0 out of the comparison; the noise remains.
    index = ((x0 + 1) * 127.5).round().long()
    of_these = -log_p[index].mean().item() / math.log(2)
    assert of_these == pytest.approx(exact, abs=0.2)
    assert bound.total > of_these
    # 200 steps cost 0.26 … 0.28 bits: a quarter of the square of each step in logsnr, in nats, summed.
    assert bound.total - of_these < 0.28 + 4 * bound.standard_error


def test_fewer_than_two_steps_are_refused():
    x0 = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="two steps"):
        bits_per_dim(lambda xt, t, cond: xt, x0, None, levels_of(Flow(), [1.0, 0.0]), noise_of((2, 3)))


def test_one_picture_has_no_standard_error():
    levels = levels_of(Flow(), [1.0, 0.5, 0.0])
    bound = bits_per_dim(lambda xt, t, cond: 0 * xt, torch.zeros(1, 3), None, levels, noise_of((1, 3)))
    assert math.isnan(bound.standard_error)
    assert math.isfinite(bound.total)
