"""Bits per dimension by the probability flow: the offsets of dequantisation, and a model's own."""

import math

import numpy as np
import pytest
import torch

from unstir.data.shapes import shape_pictures
from unstir.diffusion.denoiser import gaussian_denoiser
from unstir.diffusion.noise import LIKELIHOOD, batch_uniform
from unstir.diffusion.schedule import SCHEDULES, named_schedule
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.models.generative import OdeLikelihoodModel
from unstir.models.latent_diffusion import LatentDiffusion
from unstir.models.ode_likelihood import ode_bits_per_dim
from unstir.models.previous_step import PreviousStep
from unstir.models.unclip import Unclip
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.text.tokenizer import Tokenizer

STD = 0.4
TOKENIZER = Tokenizer.train(["a red circle", "a blue square"], 300)


def exact(schedule):
    zero = torch.zeros((), dtype=torch.float64)
    return gaussian_denoiser(zero, zero + STD, schedule)


def values(bins, count=0):
    """All values of a number, or `count` of them at random."""
    levels = torch.linspace(-1, 1, bins, dtype=torch.float64)
    if not count:
        return levels[:, None]
    generator = torch.Generator().manual_seed(1)
    weight = torch.exp(-0.5 * (levels / STD) ** 2)
    return levels[torch.multinomial(weight, count * 8, True, generator=generator)].view(count, 8)


@pytest.mark.parametrize("bins", [17, 256])
@pytest.mark.parametrize("name", ["flow", "sub-vp", "variance-exploding"])
def test_the_offset_of_dequantisation(name, bins):
    """With z = 2(x + u)/K - 1 the bits are -log2 p(z)/D + log2(K/2): 7 bits for K = 256, 3.087 for K = 17."""
    schedule, x0 = named_schedule(name), values(bins, 6)
    found = ode_bits_per_dim(exact(schedule), x0, schedule, None, range(6), bins=bins, start=1e-5, tolerance=1e-6)
    u = batch_uniform((8,), range(6), 0, LIKELIHOOD)
    index = ((x0 + 1) / 2 * (bins - 1)).round()
    z = 2 * (index + u) / bins - 1
    density = torch.distributions.Normal(0.0, STD * (bins - 1) / bins)  # that of z, for data of deviation STD
    expected = -density.log_prob(z).mean(1) / math.log(2) + math.log2(bins / 2)
    # As in test_ode, up to what is not quite forgotten at t = 1 and noise of 0.002 at the start.
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("bins", [9, 17])
def test_the_probabilities_of_all_values_sum_to_1(bins):
    """2^-bits is on average over the place in the bin the probability of the bin."""
    schedule, seeds = named_schedule("flow"), 24
    x0 = values(bins).repeat(seeds, 1)
    found = ode_bits_per_dim(exact(schedule), x0, schedule, None, range(len(x0)), bins=bins, start=1e-4)
    total = (2.0**-found).view(seeds, bins).mean(0).sum().item()
    inside = math.erf((1 + 1 / (bins - 1)) / (STD * math.sqrt(2)))
    assert total == pytest.approx(inside, abs=0.01)


@pytest.mark.parametrize("name", SCHEDULES)
def test_bits_are_above_those_of_the_data(name):
    """Of values with the probabilities of a Gaussian: on average at least their entropy, and with 64 values little
    more. The noise at the start, half a bin, is part of the gap."""
    schedule, bins, x0 = named_schedule(name), 64, values(64, 12)
    log_p = torch.log_softmax(-0.5 * (values(bins)[:, 0] / STD) ** 2, 0)
    index = ((x0 + 1) / 2 * (bins - 1)).round().long()
    own = -log_p[index].mean(1) / math.log(2)
    found = ode_bits_per_dim(exact(schedule), x0, schedule, None, range(12), bins=bins)
    assert 0 <= (found - own).mean() + 0.01 < 0.04
    finer = ode_bits_per_dim(exact(schedule), x0, schedule, None, range(12), bins=bins, tolerance=1e-6)
    torch.testing.assert_close(found, finer, rtol=0, atol=1e-3)


def model_of(**options):
    network = DiTConfig(8, 4, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(TOKENIZER), length=12, width=32, depth=1, heads=2)
    model = Diffusion(DiffusionConfig(network, text, **options), TOKENIZER)
    initialise(model, 0)
    return model


def test_bits_of_a_model_depend_on_picture_caption_and_seed_only():
    model, generator = model_of(schedule="sub-vp"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    pixels = torch.from_numpy(np.array(shape_pictures(3, 8, 1).pixels))
    pixels = torch.cat([pixels, torch.full_like(pixels[..., :1], 200)], -1)
    captions = ["a red circle", "a blue square", "a red circle"]
    assert isinstance(model, OdeLikelihoodModel)
    assert Unclip.ode_bits is LatentDiffusion.ode_bits is PreviousStep.ode_bits is None
    bits = list(model.ode_bits(pixels, captions, [4, 5, 6]))
    assert all(math.isfinite(one) for one in bits)
    assert list(model.ode_bits(pixels[1:2], captions[1:2], [5])) == bits[1:2]
    assert list(model.ode_bits(pixels[1:2], captions[1:2], [6])) != bits[1:2]
    assert list(model.ode_bits(pixels[1:2], captions[:1], [5])) != bits[1:2]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("schedule", ["linear-beta", "sub-vp", "variance-exploding"])
def test_a_model_is_trained_under_every_process(schedule):
    """Pictures of one grey each are soon told from noise."""
    model = model_of(schedule=schedule, loss="x0", t_mean=0.0)
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        greys = torch.randint(2, (16, 1, 1, 1), generator=generator) * 200 + 20
        batch = model.batch(greys.expand(16, 8, 8, 4).to(torch.uint8), ["a red circle"] * 16)
        ((_, loss),) = model.losses(batch, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
