"""Predictor and corrector: what a step of Langevin dynamics does, and that the sampler draws what it should."""

import math

import pytest
import torch

from unstir.diffusion.denoiser import full_time, gaussian_denoiser, per_picture
from unstir.diffusion.grid import time_grid
from unstir.diffusion.prediction import score
from unstir.diffusion.sampler import levels_of
from unstir.diffusion.samplers.ddpm import ddpm
from unstir.diffusion.samplers.pc import langevin_step, pc
from unstir.diffusion.schedule import Flow, LinearBeta, SubVariancePreserving, VarianceExploding, named_schedule

SIZE = 4096
PROCESSES = {
    "flow": Flow(),
    "vp": LinearBeta(),
    "sub-vp": SubVariancePreserving(),
    "ve": VarianceExploding(0.01, 50),
}


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def noise_of(*shape):
    def noise(step):
        return torch.randn(shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)

    return noise


def test_without_corrector_steps_it_is_ddpm():
    schedule, noise = Flow(), noise_of(3, 2, 4)
    levels = levels_of(schedule, time_grid(schedule, 6))
    denoise = gaussian_denoiser(double(0.2), double(0.5), schedule)
    runs = [
        list(sampler(denoise, noise(0), None, levels, noise, **options))
        for sampler, options in ((ddpm, {}), (pc, {"corrector_steps": 0}))
    ]
    for a, b in zip(*runs, strict=True):
        assert a.i == b.i
        assert a.t == b.t
        assert torch.equal(a.x0, b.x0)
        assert torch.equal(a.xt, b.xt)


@pytest.mark.parametrize(("steps", "corrector_steps"), [(1, 1), (2, 1), (4, 1), (3, 3)])
def test_every_step_of_predictor_and_corrector_is_yielded(steps, corrector_steps):
    schedule = LinearBeta()
    grid = time_grid(schedule, steps)
    asked = []

    def noise(step):
        asked.append(step)
        return noise_of(2, 3)(step)

    def denoise(xt, t, cond):
        assert cond == "words"
        return torch.tanh(xt)

    levels = levels_of(schedule, grid)
    found = list(pc(denoise, noise_of(2, 3)(0), "words", levels, noise, corrector_steps))
    assert [step.i for step in found] == list(range(steps + (steps - 1) * corrector_steps))
    expected = [grid[0], *(t for t in grid[1:-1] for _ in range(corrector_steps + 1))]
    assert [step.t for step in found] == expected
    for step in found:
        assert torch.equal(step.x0, torch.tanh(step.xt))
    # Every draw of noise is another, and the predictor's are those of `ddpm`.
    assert len(set(asked)) == len(asked) == (steps - 1) * (1 + corrector_steps)
    assert set(range(1, steps)) <= set(asked)
    assert min(set(asked) - set(range(1, steps)), default=10**6) > 10_000


@pytest.mark.parametrize("name", PROCESSES)
def test_a_step_at_a_level_is_the_papers(name):
    schedule = PROCESSES[name]
    (level, _) = levels_of(schedule, [0.4, 0.0])
    x0, xt, z = noise_of(3, 2, 5)(1), noise_of(3, 2, 5)(2), noise_of(3, 2, 5)(3)
    found = langevin_step(x0, xt, level, z, 0.1, 0.9)
    gradient = score(x0, xt, level.alpha, level.sigma)
    for i in range(3):
        h = 2 * 0.9 * (0.1 * z[i].norm() / gradient[i].norm()) ** 2
        assert h < level.sigma**2
        torch.testing.assert_close(found[i], xt[i] + h * gradient[i] + (2 * h).sqrt() * z[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_step_brings_the_variance_closer(name, scale):
    """Of data N(0, v) at a level with variance u: noisy pictures of variance w become (1 - h/u)²·w + 2h.

    In many dimensions |z|/|score| is u/sqrt(w), so h = 2·snr²·u²/w.
    """
    schedule, snr = PROCESSES[name], 0.16
    (level, _) = levels_of(schedule, [0.5, 0.0])
    u = (level.alpha * 0.5) ** 2 + level.sigma**2
    w = scale * u
    xt = noise_of(2, 50_000)(0) * math.sqrt(w)
    x0 = gaussian_denoiser(double(0.0), double(0.5), schedule)(xt, full_time(0.5, xt), None)
    after = langevin_step(x0, xt, level, noise_of(2, 50_000)(1), snr).var().item()
    h = 2 * snr**2 * u**2 / w
    assert h < level.sigma**2
    assert after == pytest.approx((1 - h / u) ** 2 * w + 2 * h, rel=0.02)
    if scale != 1:
        assert abs(after - u) < abs(w - u)


def test_a_score_of_almost_nothing_is_no_leap():
    (level, _) = levels_of(Flow(), [0.5, 0.0])
    x0 = noise_of(1, 2)(0)
    out = langevin_step(x0, x0 * level.alpha, level, noise_of(1, 2)(1), 0.16)
    assert (out - x0 * level.alpha).abs().max() <= math.sqrt(2) * level.sigma * noise_of(1, 2)(1).abs().max() + 1e-9


def test_a_picture_does_not_depend_on_its_neighbours():
    schedule = LinearBeta()
    levels = levels_of(schedule, time_grid(schedule, 5))

    def denoise(xt, t, cond):
        return torch.tanh(2 * xt + per_picture(t, xt)) * 0.9

    def drawn(seeds, loud=None):
        def noise(step):
            rows = [torch.randn(3, 40, generator=torch.Generator().manual_seed(1000 * seed + step)) for seed in seeds]
            if loud is not None:
                rows[loud] = 30 * rows[loud]
            return torch.stack(rows)

        *_, last = pc(denoise, noise(0), None, levels, noise, 2)
        return last.x0

    alone = drawn([7])
    assert torch.equal(drawn([3, 7, 9])[1:2], alone)
    assert torch.equal(drawn([9, 8, 7], loud=0)[2:], alone)


def covariance_denoiser(mean, covariance, schedule):
    """The exact denoiser of pairs (last dimension 2) from N(mean, covariance)."""

    def denoise(xt, t, cond):
        alpha, sigma = schedule.alpha(t[:1]), schedule.sigma(t[:1])
        noisy = alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        gain = alpha * covariance @ torch.linalg.inv(noisy)
        return mean + (xt - alpha * mean) @ gain.T

    return denoise


@pytest.mark.parametrize("name", PROCESSES)
def test_mean_and_covariance_of_what_it_draws(name):
    """Each picture is many pairs of numbers that belong together. The corrector's steps have a length, and the
    variance that they lead to is 1/(1 - snr²) of the true one; the predictor takes back a part of that."""
    schedule, mean = PROCESSES[name], double([0.3, -0.2])
    covariance = double([[0.25, 0.12], [0.12, 0.16]])
    levels = levels_of(schedule, time_grid(schedule, 60, "logsnr", sigma_max=100, sigma_min=0.01))
    noise = noise_of(4, SIZE, 2)
    denoise = covariance_denoiser(mean, covariance, schedule)
    *_, last = pc(denoise, noise(0) * levels[0].sigma, None, levels, noise)
    pairs = last.x0.flatten(0, 1)
    error = math.sqrt(1 / len(pairs))
    assert (pairs.mean(0) - mean).abs().max() < 5 * error * 0.5 + 0.01 * 0.3
    torch.testing.assert_close(torch.cov(pairs.T), covariance, rtol=0.06, atol=0.01)


@pytest.mark.parametrize("name", ["linear-beta", "cosine"])
def test_the_corrector_gives_back_what_the_predictor_loses(name):
    """Unit noise is stationary under these processes. In 60 steps the predictor loses 13 % and 8 % of its variance."""
    schedule, noise = named_schedule(name), noise_of(4, SIZE)
    levels = levels_of(schedule, time_grid(schedule, 60))
    denoise = gaussian_denoiser(double(0.0), double(1.0), schedule)
    lost = []
    for corrector_steps in (0, 1):
        found = list(pc(denoise, noise(0) * levels[0].sigma, None, levels, noise, corrector_steps))
        assert all(abs(step.xt.mean().item()) < 5 / math.sqrt(4 * SIZE) for step in found)
        assert max(step.xt.var().item() for step in found) < 1.05
        lost.append(1 - found[-1].xt.var().item())
    assert 0 < lost[1] < 0.5 * lost[0]
