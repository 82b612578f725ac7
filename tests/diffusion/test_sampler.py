"""Every sampler against theory, on data for which everything is known: Gaussian, N(MEAN, STD²) per element.

For these data the denoiser is affine in xt, so every sampler is an affine map of the start and of the fresh noise.
Its output's mean and standard deviation are then computed without sampling error, from its answer to one unit of
each noise at a time (`moments`).
"""

import itertools
import math

import pytest
import torch

from unstir.diffusion.denoiser import NetworkDenoiser, gaussian_denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.prediction import PREDICTIONS, Prediction
from unstir.diffusion.sampler import Level, chain_noise, levels_of, named_sampler, step_to
from unstir.diffusion.samplers import SAMPLER_NAMES
from unstir.diffusion.samplers.ddim import ddim
from unstir.diffusion.samplers.heun import heun
from unstir.diffusion.schedule import SCHEDULES, Flow, LinearBeta, named_schedule

# The step size of pc's corrector depends on the picture, so it is no affine map; see test_pc.py.
SAMPLERS = {name: named_sampler(name) for name in SAMPLER_NAMES if name != "pc"}

MEAN, STD = 0.3, 0.5
DETERMINISTIC, STOCHASTIC = ("ddim", "euler", "heun", "dpmpp_2m"), ("ddpm", "sde", "blend")
VALID = [(p, s) for p in PREDICTIONS for s in SCHEDULES if not (p == "eps" and s in ("flow", "cosine"))]


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def exact_denoiser(schedule):
    return gaussian_denoiser(double(MEAN), double(STD), schedule)


def exact_network(schedule, name):
    """A network that predicts exactly what `name` means for these data, seen as a denoiser. Formulas written out."""

    def network(x, level, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        xt = x * (alpha**2 * 0.7**2 + sigma**2).sqrt()
        spread = alpha**2 * STD**2 + sigma**2
        x0 = MEAN + alpha * STD**2 / spread * (xt - alpha * MEAN)
        eps = sigma / spread * (xt - alpha * MEAN)  # E[eps | xt], which exists at alpha = 0 too
        match name:
            case "x0":
                return x0
            case "eps":
                return eps
            case "v":
                return alpha * eps - sigma * x0
            case "velocity":
                return eps - x0
            case "edm":  # Karras 2022, eq. 8, with both sides multiplied by alpha
                skip = 0.7**2 * alpha / (sigma**2 + 0.7**2 * alpha**2)
                return (x0 - skip * xt) * (sigma**2 + 0.7**2 * alpha**2).sqrt() / (sigma * 0.7)

    denoise = NetworkDenoiser(network, schedule, Prediction(name, 0.7))
    return lambda xt, t, cond: denoise(xt, t, t)


def refuse(i):
    raise AssertionError("a deterministic sampler asked for noise")


def flow_map(xt, t, s):
    """Where the probability flow takes xt from level t to level s: the quantile is kept."""
    spread_t, spread_s = (math.sqrt((level.alpha * STD) ** 2 + level.sigma**2) for level in (t, s))
    return s.alpha * MEAN + spread_s / spread_t * (xt - t.alpha * MEAN)


def start(levels):
    return double([[1.3], [-0.4], [0.0], [2.5]]) * levels[0].sigma


def moments(sampler, denoise, levels, **options):
    """Mean and standard deviation of the sampler's output from pure noise, exactly."""
    count = len(levels) - 1
    xt = torch.zeros(count + 1, 1, dtype=torch.float64)
    xt[1] = levels[0].sigma

    def noise(i):
        z = torch.zeros(count + 1, 1, dtype=torch.float64)
        z[i + 1] = 1
        return z

    *_, last = sampler(denoise, xt, None, levels, noise, **options)
    return last.x0[0].item(), (last.x0[1:] - last.x0[0]).square().sum().sqrt().item()


def blend_std(levels):
    """Standard deviation of `blend`'s output, by its recursion.

    Var x0_hat = gain²·Var xt, and the next xt is alpha·x0_hat + sigma·z with z fresh.
    """
    variance = levels[0].sigma ** 2
    for t, s in itertools.pairwise(levels):
        gain = t.alpha * STD**2 / ((t.alpha * STD) ** 2 + t.sigma**2)
        of_picture = gain**2 * variance
        variance = s.alpha**2 * of_picture + s.sigma**2
    return math.sqrt(of_picture)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
@pytest.mark.parametrize(("prediction", "schedule"), VALID)
def test_deterministic_samplers_follow_the_flow(sampler, prediction, schedule):
    schedule = named_schedule(schedule)
    levels = levels_of(schedule, time_grid(schedule, 100, "logsnr"))
    xt = start(levels)
    *_, last = SAMPLERS[sampler](exact_network(schedule, prediction), xt, None, levels, refuse)
    expected = flow_map(xt, levels[0], levels[-1])
    # Of a picture's distance from the mean, 100 steps of first order leave out 2.6 %, of second order 0.12 % or less.
    tolerance = 0.03 if sampler in ("ddim", "euler") else 0.0015
    assert ((last.x0 - expected).abs() < tolerance * (expected - MEAN).abs() + 1e-12).all()


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "blend"])
@pytest.mark.parametrize(("prediction", "schedule"), VALID)
def test_from_pure_noise_to_the_true_mean_and_std(sampler, prediction, schedule):
    schedule = named_schedule(schedule)
    levels = levels_of(schedule, time_grid(schedule, 200, "logsnr"))
    mean, std = moments(SAMPLERS[sampler], exact_network(schedule, prediction), levels)
    # Pure noise at t = 1 forgets alpha(1)·mean: a fraction std·alpha(1)/sigma(1) < 0.7 % of the mean.
    assert mean == pytest.approx(MEAN, rel=1.01 * STD * schedule.alpha_at_noise / levels[0].sigma + 1e-9)
    # 200 steps; the error halves (first order) or quarters with twice as many: see the tests of the order.
    assert std == pytest.approx(STD, rel=0.03 if sampler in ("ddim", "euler", "ddpm") else 1e-3)


@pytest.mark.parametrize(("prediction", "schedule"), VALID)
@pytest.mark.parametrize("spacing", ["uniform", "logsnr"])
def test_blend_reaches_the_true_mean_and_less_than_the_true_std(prediction, schedule, spacing):
    """Blend is not a sampler of the data's distribution, and no number of steps makes it one.

    Let u be the variance of the predicted picture and r = sigma/alpha. One step makes of it
    u' = s⁴(u + r²)/(s² + r²)², whose maximum over r is s⁴/(4(s² - u)), and that is below s²/2 for every u below s²/2.
    So the standard deviation stays below std/sqrt(2) on every grid; with many steps it tends to it, which is the fixed
    point s⁴/(2s² + r²) as r goes to 0: predicting forgets half of the variance that fresh noise cannot give back.
    """
    schedule = named_schedule(schedule)
    reached = []
    for steps in (1, 4, 24, 300):
        levels = levels_of(schedule, time_grid(schedule, steps, spacing))
        mean, std = moments(SAMPLERS["blend"], exact_network(schedule, prediction), levels)
        assert mean == pytest.approx(MEAN, rel=1.01 * STD * schedule.alpha_at_noise / levels[0].sigma + 1e-9)
        assert std == pytest.approx(blend_std(levels), rel=1e-7, abs=1e-9)
        assert std < STD / math.sqrt(2)
        reached.append(std)
    assert reached == sorted(reached)
    # 24 steps: 0.63 … 0.66 of the true std; 300 steps: 0.69 … 0.702; the limit is 0.7071.
    assert 0.62 * STD < reached[2] < 0.67 * STD
    assert reached[3] == pytest.approx(STD / math.sqrt(2), rel=0.025)


@pytest.mark.parametrize("sampler", STOCHASTIC)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_drawn_pictures_have_the_computed_moments(sampler, schedule):
    schedule, count = named_schedule(schedule), 40_000
    levels = levels_of(schedule, time_grid(schedule, 60, "logsnr"))
    generator = torch.Generator().manual_seed(7)

    def noise(i):
        return torch.randn(count // 4, 4, generator=generator, dtype=torch.float64)

    *_, last = SAMPLERS[sampler](exact_denoiser(schedule), noise(0) * levels[0].sigma, None, levels, noise)
    mean, std = moments(SAMPLERS[sampler], exact_denoiser(schedule), levels)
    # Five standard errors: std/sqrt(n) of a mean, std/sqrt(2n) of a standard deviation.
    assert last.x0.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(count))
    assert last.x0.std().item() == pytest.approx(std, abs=5 * std / math.sqrt(2 * count))


def slopes(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_on_grids_uniform_in_logsnr(sampler, order, schedule):
    schedule, errors = named_schedule(schedule), []
    for steps in (100, 200, 400):
        # Wide ends: starting at alpha = 0 errs by (std·alpha/sigma)²/2 at the second time, however many steps.
        levels = levels_of(schedule, time_grid(schedule, steps, "logsnr", sigma_max=1e4, sigma_min=1e-3))
        xt = start(levels)
        *_, last = SAMPLERS[sampler](exact_denoiser(schedule), xt, None, levels, refuse)
        # Measured at the last noisy time, which is the same one for every number of steps.
        errors.append((last.xt - flow_map(xt, levels[0], levels[-2])).abs().max().item())
    for slope in slopes(errors):
        assert slope == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
@pytest.mark.parametrize(
    ("sampler", "low", "high"),
    # Second order is approached slowly from below or above, as (log n)/n² mixes in: sigma/alpha runs to infinity.
    [("ddim", 0.95, 1.05), ("euler", 0.95, 1.05), ("heun", 1.8, 2.3), ("dpmpp_2m", 1.65, 2.1)],
)
def test_order_on_uniform_grids(sampler, low, high, schedule):
    schedule, errors = named_schedule(schedule), []
    for steps in (200, 400, 800):
        levels = levels_of(schedule, time_grid(schedule, steps))
        xt = start(levels)
        *_, last = SAMPLERS[sampler](exact_denoiser(schedule), xt, None, levels, refuse)
        errors.append((last.x0 - flow_map(xt, levels[0], levels[-1])).abs().max().item())
    for slope in slopes(errors):
        assert low < slope < high


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("sampler", "order"), [("ddpm", 1), ("sde", 2)])
def test_order_of_the_std_of_stochastic_samplers(sampler, order, schedule):
    schedule, reached = named_schedule(schedule), []
    for steps in (100, 200, 400):
        levels = levels_of(schedule, time_grid(schedule, steps, "logsnr"))
        reached.append(moments(SAMPLERS[sampler], exact_denoiser(schedule), levels)[1])
    # From the differences, which do not contain what the grid's last noisy time leaves out (2e-5 on linear-beta).
    (slope,) = slopes([abs(a - b) for a, b in itertools.pairwise(reached)])
    assert slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("eta", [0.3, 0.7, 1.0])
def test_ddim_with_some_of_the_chains_noise_reaches_the_true_std(eta):
    schedule, errors = Flow(), []
    for steps in (100, 200, 400):
        levels = levels_of(schedule, time_grid(schedule, steps, "logsnr"))
        mean, std = moments(ddim, exact_denoiser(schedule), levels, eta=eta)
        assert mean == pytest.approx(MEAN, abs=1e-9)
        errors.append(abs(std - STD))
    assert errors[-1] < 0.02 * STD
    assert slopes(errors) == pytest.approx([1, 1], abs=0.1)


def test_ddim_with_eta_1_is_ddpm():
    levels = levels_of(LinearBeta(), time_grid(LinearBeta(), 7))
    draws = torch.randn(7, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    runs = [
        list(sampler(exact_denoiser(LinearBeta()), start(levels), None, levels, lambda i: draws[i], **options))
        for sampler, options in ((ddim, {"eta": 1.0}), (SAMPLERS["ddpm"], {}))
    ]
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.x0, b.x0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_item_a_step_and_the_last_one_is_the_result(sampler, steps):
    schedule = Flow()
    grid = time_grid(schedule, steps)
    levels = levels_of(schedule, grid)
    asked, seen = [], []

    def noise(i):
        asked.append(i)
        return torch.full((4, 1), 0.1 * i, dtype=torch.float64)

    def denoise(xt, t, cond):
        assert cond == "words"
        assert t.shape == (4,)
        assert t.dtype == torch.float64
        seen.append(t[0].item())
        return exact_denoiser(schedule)(xt, t, None)

    xt = start(levels)
    before = xt.clone()
    walk = SAMPLERS[sampler](denoise, xt, "words", levels, noise)
    assert seen == []  # a generator: nothing runs before it is asked
    kept = [(step, step.xt.clone(), step.x0.clone()) for step in walk]
    assert [step.i for step, _, _ in kept] == list(range(steps))
    assert [step.t for step, _, _ in kept] == grid[:-1]
    assert torch.equal(kept[0][0].xt, before)
    for step, xt_then, x0_then in kept:
        # What was yielded is never overwritten, and x0 is the denoiser's answer to it.
        assert torch.equal(step.xt, xt_then)
        assert torch.equal(step.x0, x0_then)
        assert torch.equal(
            step.x0, exact_denoiser(schedule)(step.xt, torch.full((4,), step.t, dtype=torch.float64), None)
        )
    assert asked == (list(range(1, steps)) if sampler in STOCHASTIC else [])
    if sampler != "heun":
        assert seen == grid[:-1]


def test_heun_evaluates_twice_but_at_the_ends():
    for schedule, expected in ((Flow(), [1.0, 0.75, 0.5, 0.5, 0.25, 0.25]), (LinearBeta(), None)):
        seen = []
        levels = levels_of(schedule, time_grid(schedule, 4))

        def denoise(xt, t, cond, seen=seen):
            seen.append(t[0].item())
            return xt * 0.1

        list(heun(denoise, start(levels), None, levels, refuse))
        assert seen == (expected or [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_is_the_denoiser_itself(sampler):
    levels = levels_of(LinearBeta(), [1.0, 0.0])
    (step,) = SAMPLERS[sampler](lambda xt, t, cond: torch.tanh(xt), start(levels), None, levels, refuse)
    assert torch.equal(step.x0, torch.tanh(start(levels)))


@pytest.mark.parametrize("fresh", [0.0, 0.2, 0.5])
def test_step_to_is_the_mixture_at_the_new_level(fresh):
    t, s = Level(0.8, 0.3, 0.9), Level(0.4, 0.7, 0.5)
    x0, eps, z = double([0.2, -0.6]), double([1.0, -2.0]), double([0.5, 0.25])
    got = step_to(x0, t.alpha * x0 + t.sigma * eps, t, s, fresh, z)
    expected = s.alpha * x0 + math.sqrt(s.sigma**2 - fresh**2) * eps + fresh * z
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-15)


def test_chain_noise_is_that_of_ddpm():
    """Ho et al. 2020, eq. 7: beta_tilde = (1 - abar_s)/(1 - abar_t)·beta_t, beta_t = 1 - abar_t/abar_s."""
    abar_t, abar_s = 0.3, 0.45
    t, s = (Level(0.5, math.sqrt(a), math.sqrt(1 - a)) for a in (abar_t, abar_s))
    beta = 1 - abar_t / abar_s
    assert chain_noise(t, s) ** 2 == pytest.approx((1 - abar_s) / (1 - abar_t) * beta, rel=1e-13)
    assert chain_noise(t, Level(0.0, 1.0, 0.0)) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_end_on_the_picture(name):
    schedule = named_schedule(name)
    levels = levels_of(schedule, [1.0, 0.6, 0.0])
    assert levels[-1] == (0.0, 1.0, 0.0)
    assert levels[1] == (0.6, schedule.alpha(double(0.6)).item(), schedule.sigma(double(0.6)).item())
    assert levels[-1].half_logsnr == math.inf
    assert levels[1].half_logsnr == pytest.approx(math.log(levels[1].alpha / levels[1].sigma))


def test_an_unknown_sampler_raises_and_tells_the_known():
    assert named_sampler("heun") is heun
    with pytest.raises(ValueError, match="'plms'; there are: blend, ddim"):
        named_sampler("plms")
