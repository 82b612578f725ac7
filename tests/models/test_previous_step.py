"""The naive way back against its closed form on Gaussian data, and its interface."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from unstir.diffusion.chain import posterior
from unstir.diffusion.denoiser import full_time, gaussian_denoiser, per_picture
from unstir.diffusion.sampler import chain_noise, levels_of
from unstir.diffusion.samplers.ddpm import ddpm
from unstir.diffusion.schedule import SCHEDULES
from unstir.models.description import build, describe
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.models.exploration import BetweenPictures, BetweenPrompts, Varies
from unstir.models.generative import GenerativeModel, LikelihoodModel, NotFinite, final
from unstir.models.previous_step import PreviousStep, PreviousStepConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.settings import BadSetting, PreviousStepSettings
from unstir.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["a red circle", "a blue square"], 300)
TEXT = TextConfig(len(TOKENIZER), length=12, width=32, depth=1, heads=2)
NETWORK = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
MEAN, STD = 0.2, 0.3


def model_of(**options):
    model = PreviousStep(PreviousStepConfig(NETWORK, TEXT, **({"steps": 10} | options)), TOKENIZER)
    initialise(model, 0)
    return model


def stirred(**options):
    model, generator = model_of(**options), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


def best(model, xt, t):
    """E[x_s | x_t] of data N(MEAN, STD²), written out: a regression of one Gaussian on another."""
    out = torch.empty_like(xt)
    for a, b in itertools.pairwise(model.levels):
        rows = t == a.t
        kept = a.alpha / b.alpha  # x_t = kept·x_s + noise
        before, after = ((one.alpha * STD) ** 2 + one.sigma**2 for one in (b, a))
        out[rows] = b.alpha * MEAN + kept * before / after * (xt[rows] - a.alpha * MEAN)
    return out


class Best(nn.Module):
    """A network that predicts this, at any scale of its input; off by `error`."""

    def __init__(self, model, error=0.0):
        super().__init__()
        self.model, self.error = [model], error
        self.weight = nn.Parameter(torch.zeros(()))
        levels = model.levels[:-1]
        self.of_level = {round(max(2 * one.half_logsnr, -20), 3): one for one in levels}

    def forward(self, x, level, words):
        model = self.model[0]
        found = [self.of_level[min(self.of_level, key=lambda known: abs(known - one))] for one in level.tolist()]
        alpha, sigma = (
            per_picture(torch.tensor([getattr(one, name) for one in found], dtype=torch.float64), x)
            for name in ("alpha", "sigma")
        )
        xt = x * (alpha**2 * model.config.sigma_data**2 + sigma**2).sqrt()
        times = torch.tensor([one.t for one in found], dtype=torch.float64)
        return best(model, xt, times) * (1 + self.error)


def gaussian(count, seed=0):
    return MEAN + STD * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_two_neighbours_of_the_chain(schedule):
    """x_t has its marginal, and x_s given x_t and x0 that of `posterior`: mean and deviation."""
    model = model_of(schedule=schedule, steps=5)
    count, n = 40_000, 2
    t, s = model.levels[n : n + 2]
    generator = torch.Generator().manual_seed(1)
    first, more = (torch.randn(count, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    x0 = torch.full((count, 2), 0.4, dtype=torch.float64)
    xs, xt = model.neighbours(x0, torch.full((count,), n), first, more)
    tolerance = 5 / math.sqrt(2 * count)
    assert ((xt - t.alpha * x0) / t.sigma).mean().abs() < tolerance
    assert ((xt - t.alpha * x0) / t.sigma).std().item() == pytest.approx(1, abs=tolerance)
    mean, std = posterior(x0, xt, t, s)
    assert ((xs - mean) / std).mean().abs() < tolerance
    assert ((xs - mean) / std).std().item() == pytest.approx(1, abs=tolerance)
    assert abs(torch.corrcoef(torch.stack([(xs - mean).flatten(), xt.flatten()]))[0, 1]) < tolerance
    # The last step is to the picture itself.
    xs, _ = model.neighbours(x0, torch.full((count,), 4), first, more)
    assert torch.equal(xs, x0)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "linear-beta"])
def test_the_optimum_is_a_step_of_the_chain_towards_the_mean_picture(schedule):
    model = model_of(schedule=schedule)
    x0 = gaussian_denoiser(torch.tensor(MEAN), torch.tensor(STD), model.schedule)
    for t, s in itertools.pairwise(model.levels):
        xt = gaussian(2, seed=5) * 1.5
        times = full_time(t.t, xt)
        mean, _ = posterior(x0(xt, times, None), xt, t, s)
        torch.testing.assert_close(best(model, xt, times), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", ["flow", "linear-beta"])
def test_its_loss_is_least_there_and_hardly_depends_on_the_picture(schedule):
    model = model_of(schedule=schedule)
    words = model.encode(["a red circle"]).repeat(64)

    def loss(network):
        model.network = network
        values = [
            model.picture_losses(gaussian(64, seed), words, torch.Generator().manual_seed(seed)) for seed in range(4)
        ]
        return torch.cat(values).mean().item()

    # Of x_s, what x_t does not say: var(x_s) - cov²/var(x_t).
    left = []
    for t, s in itertools.pairwise(model.levels):
        before, after = ((one.alpha * STD) ** 2 + one.sigma**2 for one in (s, t))
        left.append(before - (t.alpha / s.alpha * before) ** 2 / after)
    drawn = torch.cat([torch.randint(10, (64,), generator=torch.Generator().manual_seed(seed)) for seed in range(4)])
    least = loss(Best(model))
    assert least == pytest.approx(torch.tensor(left)[drawn].mean().item(), rel=0.03)
    assert loss(Best(model, 0.05)) > least
    assert loss(Best(model, -0.05)) > least
    # Most of the loss is what nothing can predict: the variance of x_s where the picture is known.
    fresh = np.mean([chain_noise(t, s) ** 2 for t, s in itertools.pairwise(model.levels)])
    assert fresh > 0.6 * np.mean(left)


def moments(model, posterior_noise):
    model.network = Best(model)
    settings = PreviousStepSettings(guidance_scale=1.0, posterior_noise=posterior_noise)
    cond = model.encode(["a red circle"]).repeat(200)
    model.codec.decode = lambda latent: latent.numpy()  # as numbers, without the range of pixels
    for frame in model.draw_conditioned(cond, range(200), settings, exact=False):
        last = frame.picture
    return last.mean(), last.std()


@pytest.mark.parametrize("schedule", ["flow", "linear-beta"])
def test_the_exact_network_draws_as_ddpm_does_and_without_noise_too_alike(schedule):
    model = model_of(schedule=schedule, steps=30)
    denoise = gaussian_denoiser(torch.tensor(MEAN), torch.tensor(STD), model.schedule)
    generator = torch.Generator().manual_seed(3)

    def noise(step):
        return torch.randn(200, 3, 8, 8, generator=generator)

    *_, last = ddpm(denoise, noise(0) * model.levels[0].sigma, None, model.levels, noise)
    mean, std = moments(model, 1.0)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert std == pytest.approx(last.x0.std().item(), rel=0.02)
    assert std > 0.75 * STD
    mean, without = moments(model, 0.0)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert without < 0.6 * std


def test_it_is_learned():
    """A network with one slope and one offset for each step learns the closed form."""

    class Affine(nn.Module):
        def __init__(self, steps):
            super().__init__()
            self.slope, self.offset = nn.Parameter(torch.zeros(steps)), nn.Parameter(torch.zeros(steps))

        def forward(self, x, level, words):
            known = torch.tensor([max(2 * one.half_logsnr, -20) for one in model.levels[:-1]])
            n = (level[:, None] - known).abs().argmin(1)
            return per_picture(self.slope[n], x) * x + per_picture(self.offset[n], x)

    model = model_of(steps=4)
    model.network = Affine(4)
    optimiser, rng = torch.optim.Adam(model.network.parameters(), lr=0.05), torch.Generator().manual_seed(0)
    words = model.encode(["a red circle"]).repeat(64)
    for i in range(150):
        loss = model.picture_losses(gaussian(64, seed=i), words, rng).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for n, t in enumerate(model.levels[:-1]):
        scale = math.sqrt((t.alpha * 0.5) ** 2 + t.sigma**2)
        at = torch.tensor([[0.0], [1.0]])
        expected = best(model, at, torch.full((2,), t.t, dtype=torch.float64)).flatten()
        assert model.network.offset[n].item() == pytest.approx(expected[0].item(), abs=0.02)
        assert model.network.slope[n].item() / scale == pytest.approx((expected[1] - expected[0]).item(), abs=0.03)


# Interface


def test_a_picture_does_not_depend_on_its_neighbours():
    model = stirred()
    assert isinstance(model, GenerativeModel)
    alone = final(model.draw(["a red circle"], [7]))
    together = final(model.draw(["a blue square", "a red circle", ""], [1, 7, 3]))
    assert np.array_equal(together[1:2], alone)
    fast = final(model.draw(["a blue square", "a red circle", ""], [1, 7, 3], exact=False))
    assert np.abs(fast.astype(int) - together).max() <= 1
    for change in ({"guidance_scale": 1.0}, {"negative": "a blue square"}, {"posterior_noise": 0.0}):
        assert not np.array_equal(final(model.draw(["a red circle"], [7], PreviousStepSettings(**change))), alone)


def test_every_step_is_a_frame():
    model = stirred(steps=4)
    frames = list(model.draw(["a red circle"], [7], PreviousStepSettings(posterior_noise=0.0)))
    assert [(frame.i, frame.total, frame.t) for frame in frames] == [(i, 4, None) for i in range(4)]
    # Without noise what one step predicts is what the next one gets.
    for one, other in itertools.pairwise(frames):
        assert np.array_equal(one.picture, other.state)


def test_description_and_what_it_cannot_do():
    model = model_of(schedule="sub-vp", steps=7)
    assert build(describe(model)).config == model.config
    assert len(build(describe(model)).levels) == 8
    assert isinstance(model, BetweenPrompts)
    assert not isinstance(model, BetweenPictures | Varies | LikelihoodModel)
    with pytest.raises(ValueError, match="the chain has 1 to 10000 steps, got 0"):
        PreviousStepConfig(NETWORK, TEXT, steps=0)
    with pytest.raises(ValueError, match="2 seeds for 1 prompts"):
        model.draw(["a red circle"], [0, 1])
    with pytest.raises(BadSetting, match="works through guidance"):
        PreviousStepSettings(guidance_scale=1.0, negative="a blue square")
    with torch.no_grad():
        next(model.network.parameters()).fill_(math.nan)
    with pytest.raises(NotFinite, match="step 1 gives NaN"):
        next(model.draw(["a red circle"], [0]))


def test_it_has_the_weights_of_a_diffusion_model():
    names = {name: value.shape for name, value in model_of().named_parameters()}
    other = Diffusion(DiffusionConfig(NETWORK, TEXT), TOKENIZER)
    assert names == {name: value.shape for name, value in other.named_parameters()}
    assert levels_of(other.schedule, [1.0, 0.5, 0.0])[0] == model_of(steps=2).levels[0]
