"""The ladder of latents: bounds, drawing group by group, one picture at a time, and what it learns."""

import math

import numpy as np
import pytest
import torch

from unstir.models.generative import GenerativeModel, LikelihoodModel, final
from unstir.models.vae import Vae
from unstir.models.vae_ladder import VaeConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.settings import VaeSettings
from unstir.text.tokenizer import Tokenizer


def model_of(seed=0, scales=(8, 4, 1), blocks=(1, 1, 1)):
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    text = TextConfig(len(tokenizer), length=12, width=32, depth=1, heads=2)
    model = Vae(VaeConfig(8, 3, text, scales, blocks, width=24, latent=4), tokenizer)
    initialise(model, seed)
    return model


def pictures(count=8):
    x = torch.zeros(count, 8, 8, 3, dtype=torch.uint8)
    for i in range(count):
        x[i, i % 4 : i % 4 + 3, 2:6, i % 3] = 200
    return x


def test_it_is_a_model_that_draws_and_has_a_likelihood():
    model = model_of().eval()
    assert isinstance(model, GenerativeModel)
    assert isinstance(model, LikelihoodModel)
    assert model.groups == [1, 4, 8]
    bits = list(model.picture_bits(pictures(2), ["red apple", "blue fish"], [1, 2]))
    assert all(0 < b < 20 for b in bits)
    assert bits == list(model.picture_bits(pictures(2), ["red apple", "blue fish"], [1, 2]))
    assert bits[1:] == list(model.picture_bits(pictures(2)[1:], ["blue fish"], [2]))


def test_the_loss_is_the_bound_in_bits():
    model = model_of()
    batch = model.batch(pictures(4), ["red apple"] * 4)
    noise = [torch.zeros(4, 4, side, side) for side in model.groups]
    log_likelihood, kl, ratio = model.terms(batch, noise)
    assert (kl >= -1e-4).all()
    assert ratio.shape == kl.shape == log_likelihood.shape == (4,)
    (name, loss), *rest = model.losses(batch, torch.Generator().manual_seed(0))
    assert (name, rest) == ("main", [])
    assert loss.item() == pytest.approx(((kl - log_likelihood).mean() / (192 * math.log(2))).item(), rel=0.2)


def learned(steps=250):
    model = model_of().train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    captions = ["red apple", "blue fish"] * 4
    batch = model.batch(pictures(), captions)
    for step in range(steps):
        (_, loss), *_ = model.losses(batch, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20)
        optimiser.step()
    return model.eval(), captions, loss.item()


@pytest.fixture(scope="module")
def trained():
    return learned()


def test_it_learns(trained):
    model, _, loss = trained
    assert loss < 2.0  # from about 8
    seen = final(model.draw_point(model.invert(pictures(1), VaeSettings()), VaeSettings()))
    assert np.abs(seen.astype(int) - pictures(1).numpy()).mean() < 20


def test_more_samples_tighten_the_bound(trained):
    model, captions, _ = trained
    means = [
        np.mean(list(model.importance_bits(pictures(), captions, range(8), samples=samples))) for samples in (2, 32)
    ]
    assert means[1] <= means[0] + 1e-3


def test_frames_go_from_the_likeliest_picture_to_the_drawn_one(trained):
    model, _, _ = trained
    frames = list(model.draw(["red apple"], [1]))
    assert [frame.total for frame in frames] == [3, 3, 3]
    assert (final(model.draw(["red apple"], [1])) == frames[-1].picture).all()
    still = final(model.draw(["red apple"], [1], VaeSettings(temperature=0)))
    assert (still == final(model.draw(["red apple"], [2], VaeSettings(temperature=0)))).all()
    assert (frames[-1].picture != still).any()


def test_a_picture_does_not_depend_on_its_neighbours(trained):
    model, _, _ = trained
    prompts, seeds = ["red apple", "blue fish", "red fish"], [3, 4, 5]
    together = final(model.draw(prompts, seeds))
    for row in range(3):
        assert (final(model.draw([prompts[row]], [seeds[row]]))[0] == together[row]).all()
    assert np.abs(final(model.draw(prompts, seeds, exact=False)).astype(int) - together).max() <= 2


def test_variations_keep_more_the_weaker_they_are(trained):
    model, _, _ = trained
    x = pictures(1)
    far = [
        np.abs(final(model.vary(x, range(6), strength=strength)).astype(int) - x.numpy()).mean()
        for strength in (0.0, 1.0)
    ]
    assert far[0] < far[1]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="divide each other"):
        VaeConfig(8, 3, TextConfig(300), scales=(8, 3), blocks=(1, 1))
    with pytest.raises(ValueError, match="one entry"):
        VaeConfig(8, 3, TextConfig(300), scales=(8, 4), blocks=(1,))
