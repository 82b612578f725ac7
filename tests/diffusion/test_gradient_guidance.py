"""Gradient guidance against its formula, where everything is known: Gaussian data and a quadratic similarity."""

import math

import numpy as np
import pytest
import torch

from unstir.diffusion.denoiser import full_time, gaussian_denoiser, noised
from unstir.diffusion.gradient_guidance import (
    augmented_cosine,
    guide_by_gradient,
    posterior_variance,
    similarity_gradient,
)
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import clip_range, guide, one_by_one
from unstir.diffusion.sampler import levels_of, named_sampler
from unstir.diffusion.samplers import SAMPLER_NAMES
from unstir.diffusion.schedule import SCHEDULES, Flow, named_schedule

MEAN, STD = 0.1, 0.3
GOAL = torch.tensor([[0.5, -0.4], [0.0, 0.3]], dtype=torch.float64)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def exact(schedule):
    return gaussian_denoiser(double(MEAN), double(STD), schedule)


def near(goal):
    """A quadratic similarity: half the squared distance to the goal, negative."""
    return lambda x0, t: -(x0 - goal.to(x0)).square().sum() / 2


def noisy(count=3, seed=0, shape=(2, 2)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.5


def test_scale_0_is_off():
    denoise = exact(Flow())
    assert guide_by_gradient(denoise, [near(GOAL)], 0, Flow(), STD) is denoise


@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_variance_is_that_of_gaussian_data(name):
    schedule = named_schedule(name)
    t = torch.tensor([0.02, 0.3, 0.7, 0.98], dtype=torch.float64)
    # Precisions add: of the data, and of the picture as seen through the noise.
    precision = 1 / STD**2 + (schedule.alpha(t) / schedule.sigma(t)) ** 2
    torch.testing.assert_close(posterior_variance(schedule, t, STD, 1, 1).flatten(), 1 / precision, rtol=1e-12, atol=0)


def test_posterior_variance_is_that_of_the_data_at_pure_noise_and_none_at_the_picture():
    at_noise = posterior_variance(Flow(), double([1.0]), STD, 4, 6)
    assert at_noise.shape == (1, 4, 6)
    assert at_noise.mean().item() == pytest.approx(STD**2)
    assert at_noise[0, 0, 0] == at_noise.max()
    assert (posterior_variance(Flow(), double([0.0]), STD, 4, 6) == 0).all()


def test_coarse_structure_keeps_the_most_variance():
    variance = (
        posterior_variance(Flow(), double([0.5]), STD, 8, 8)[0]
        / posterior_variance(Flow(), double([1.0]), STD, 8, 8)[0]
    )
    assert variance[0, 0] < variance[0, 1] < variance[0, 4]  # relative to the data, fine detail keeps more …
    variance = posterior_variance(Flow(), double([0.5]), STD, 8, 8)[0]
    assert variance[0, 0] > variance[0, 1] > variance[0, 4]  # … but coarse structure has more to begin with


def step_of(gradient, t, schedule, scale):
    """By how much the formula moves a picture whose similarity has this gradient (H, W), written out with NumPy."""
    variance = posterior_variance(schedule, double([t]), STD, *gradient.shape)[0].numpy()
    shaped = np.fft.ifft2(np.fft.fft2(gradient.numpy()) * variance).real
    return torch.from_numpy(scale / STD * variance.mean() * shaped / np.sqrt(np.square(shaped).mean()))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [0.01, 0.3, 0.8, 1.0])
def test_the_formula(name, t):
    """x0 + scale·v/std·d/rms(d), for every picture alone and at any noise."""
    schedule, scale = named_schedule(name), 0.1
    xt = noised(noisy().clamp(-0.6, 0.6), noisy(seed=1), double([t]), schedule)
    x0 = exact(schedule)(xt, full_time(t, xt), None)
    moved = guide_by_gradient(exact(schedule), [near(GOAL)] * 3, scale, schedule, STD)(xt, full_time(t, xt), None)
    for before, after in zip(x0, moved, strict=True):
        # The gradient is taken in float32.
        expected = before + step_of(GOAL - before, t, schedule, scale)
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)
        assert (GOAL - after).norm() < (GOAL - before).norm()


def test_a_negative_scale_goes_away():
    xt = noisy()
    x0 = exact(Flow())(xt, full_time(0.8, xt), None)
    moved = guide_by_gradient(exact(Flow()), [near(GOAL)] * 3, -0.2, Flow(), STD)(xt, full_time(0.8, xt), None)
    assert ((GOAL - moved).flatten(1).norm(dim=1) > (GOAL - x0).flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_samples_come_nearer_the_more_the_scale(sampler):
    levels = levels_of(Flow(), time_grid(Flow(), 12, "uniform"))
    start = torch.randn(64, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def fresh(step):
        return torch.randn(start.shape, generator=torch.Generator().manual_seed(100 + step), dtype=torch.float64)

    distances = []
    for scale in (0, 0.1, 0.2, 0.4):
        denoise = guide_by_gradient(exact(Flow()), [near(GOAL)] * 64, scale, Flow(), STD)
        *_, last = named_sampler(sampler)(denoise, start, None, levels, fresh)
        distances.append((last.x0 - GOAL).square().mean().sqrt().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.8 * distances[0]


def test_pictures_stay_within_range():
    xt = noisy()
    moved = guide_by_gradient(exact(Flow()), [near(9 * torch.ones(2, 2))] * 3, 50.0, Flow(), STD)(
        xt, full_time(0.9, xt), None
    )
    assert torch.equal(moved, torch.ones_like(moved))


def test_where_the_similarity_is_flat_nothing_moves():
    xt = noisy(1)
    x0 = exact(Flow())(xt, full_time(0.5, xt), None)
    assert torch.equal(
        guide_by_gradient(exact(Flow()), [lambda x, t: 0 * x.sum()], 1.0, Flow(), STD)(xt, full_time(0.5, xt), None), x0
    )


def test_outside_the_interval_the_prediction_alone():
    xt = noisy(3)
    asked = []

    def counted(x0, t):
        asked.append(t)
        return near(GOAL)(x0, t)

    t = double([0.1, 0.5, 0.9])
    moved = guide_by_gradient(exact(Flow()), [counted] * 3, 0.3, Flow(), STD, interval=(0.2, 0.8))(xt, t, None)
    x0 = exact(Flow())(xt, t, None)
    assert asked == [0.5]
    assert [torch.equal(a, b) for a, b in zip(moved, x0, strict=True)] == [True, False, True]


@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1), (math.nan, 1.0)])
def test_bad_intervals_raise_when_built(interval):
    with pytest.raises(ValueError, match="interval"):
        guide_by_gradient(exact(Flow()), [], 1.0, Flow(), STD, interval=interval)


def test_one_similarity_a_picture():
    with pytest.raises(ValueError, match="2 similarities for 3 pictures"):
        guide_by_gradient(exact(Flow()), [near(GOAL)] * 2, 1.0, Flow(), STD)(noisy(), full_time(0.5, noisy()), None)


def test_no_gradient_goes_through_the_denoiser_or_comes_out():
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)

    def denoise(xt, t, cond):
        assert not torch.is_grad_enabled()
        return xt * weight

    with torch.no_grad():
        moved = guide_by_gradient(denoise, [near(GOAL)] * 3, 0.1, Flow(), STD)(noisy(), full_time(0.5, noisy()), None)
    assert not moved.requires_grad
    assert weight.grad is None


def test_each_picture_has_its_own_similarity():
    xt = noisy(2)
    towards = [near(GOAL), near(-GOAL)]
    moved = guide_by_gradient(exact(Flow()), towards, 0.2, Flow(), STD)(xt, full_time(0.8, xt), None)
    for i in range(2):
        alone = guide_by_gradient(exact(Flow()), towards[i : i + 1], 0.2, Flow(), STD)(
            xt[i : i + 1], full_time(0.8, xt)[:1], None
        )
        assert torch.equal(moved[i : i + 1], alone)


def test_nests_with_the_other_wrappers():
    """Around classifier-free guidance it moves what that says; inside `one_by_one`, pictures one at a time."""

    def prompted(xt, t, cond):
        return exact(Flow())(xt, t, None) + cond

    xt, null = noisy(1), double(0.0)
    t = full_time(0.8, xt)
    guided = clip_range(guide(prompted, null, 3.0))
    moved = guide_by_gradient(guided, [near(GOAL)], 0.2, Flow(), STD)(xt, t, double(0.05))
    x0 = guided(xt, t, double(0.05))
    torch.testing.assert_close(x0, prompted(xt, t, 0.15))
    expected = x0[0] + step_of(GOAL - x0[0], 0.8, Flow(), 0.2)
    torch.testing.assert_close(moved[0], expected, rtol=1e-5, atol=1e-5)
    inside = one_by_one(guide_by_gradient(guided, [near(GOAL)], 0.2, Flow(), STD), lambda cond, i: cond)
    both = inside(noisy(2), full_time(0.8, noisy(2)), double(0.05))
    for i in range(2):
        assert torch.equal(both[i : i + 1], inside(noisy(2)[i : i + 1], t, double(0.05)))


# Views


def embed(pictures):
    return torch.stack([pictures.sum((1, 2, 3)), pictures.square().sum((1, 2, 3)), pictures[:, 0, 0, 0]], dim=1)


TARGET = torch.tensor([1.0, 2.0, -1.0])


def views_of(**options):
    """A similarity and the list of numbers that its views are drawn from, as they are asked for."""
    asked = []

    def shifted(pictures, uniform):
        asked.append(uniform)
        return pictures + uniform[0].reshape(-1, 1, 1, 1) - uniform[1].reshape(-1, 1, 1, 1)

    return augmented_cosine(embed, TARGET, options.pop("seed", 7), shifted, 2, **options), asked


def test_similarity_is_the_mean_cosine_over_views():
    similarity, asked = views_of(views=5)
    x0 = noisy(1, shape=(3, 2, 2)).float()
    value = similarity(x0, 0.5)
    (uniform,) = asked
    assert uniform.shape == (2, 5)
    cosines = []
    for k in range(5):
        vector = embed(x0 + uniform[0, k] - uniform[1, k])[0]
        cosines.append((vector @ TARGET / vector.norm() / TARGET.norm()).item())
    assert value.item() == pytest.approx(sum(cosines) / 5, rel=1e-5)


def test_views_are_a_function_of_seed_and_time():
    x0 = noisy(1, shape=(3, 2, 2)).float()

    def drawn(seed, t):
        similarity, asked = views_of(seed=seed)
        similarity(x0, t)
        return asked[0]

    assert torch.equal(drawn(7, 0.5), drawn(7, 0.5))
    assert not torch.equal(drawn(7, 0.5), drawn(8, 0.5))
    assert not torch.equal(drawn(7, 1.0), drawn(7, 1 - 1 / 1000))


def test_views_are_drawn_evenly_from_0_to_1():
    similarity, asked = views_of(views=20_000)
    similarity(noisy(1, shape=(3, 2, 2)).float(), 0.25)
    uniform = asked[0]
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=5 * 0.2887 / math.sqrt(40_000))
    assert uniform.var().item() == pytest.approx(1 / 12, rel=0.03)


def test_the_gradient_is_the_slope():
    similarity, _ = views_of(views=3)
    x0 = noisy(1, shape=(3, 2, 2)).float()
    found = similarity_gradient(similarity, x0, 0.5)
    slopes = torch.zeros(12, dtype=torch.float64)
    for i in range(12):
        step = torch.zeros(12)
        step[i] = 1e-2
        step = step.reshape(x0.shape)
        slopes[i] = (similarity(x0 + step, 0.5).double() - similarity(x0 - step, 0.5).double()).item() / 2e-2
    torch.testing.assert_close(found.flatten().double(), slopes, rtol=0.02, atol=0.02 * slopes.abs().max().item())


def test_one_view_at_least():
    with pytest.raises(ValueError, match="one view of a picture or more"):
        views_of(views=0)
