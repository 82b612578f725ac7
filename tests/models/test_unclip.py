"""unCLIP: ridge regression and diffusion prior against closed forms, embeddings as conditioning, explorations."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unstir.models.clip import ClipConfig
from unstir.models.embedding_prior import EmbeddingPrior, PriorConfig, ridge_regression, with_constant
from unstir.models.exploration import BetweenPictures, BetweenPrompts, Edits, Varies
from unstir.models.generative import GenerativeModel, LikelihoodModel, final
from unstir.models.unclip import Unclip, UnclipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.embedding_condition import EmbeddingConfig, EmbeddingTokens
from unstir.nn.init import initialise
from unstir.nn.unet import UNetConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import UnclipSettings
from unstir.text.tokenizer import Tokenizer

SETTINGS = UnclipSettings(steps=3, prior_steps=3)


@pytest.fixture(scope="module")
def model():
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    clip = ClipConfig(
        VisionConfig(8, 4, patch=4, width=32, depth=1, heads=2, mlp=64),
        ClipTextConfig(len(tokenizer), length=12, width=32, depth=1, heads=2, mlp=64),
        width=16,
    )
    network = UNetConfig(8, 4, patch=1, widths=(16, 32), blocks=(1, 1), attend=(False, True), words=32, vector=32)
    made = Unclip(
        UnclipConfig(network=network, text=EmbeddingConfig(16, 2, 32), clip=clip, prior=PriorConfig(32, 2)), tokenizer
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    texts, pictures = (F.normalize(torch.randn(50, 16, generator=generator), dim=1) for _ in range(2))
    made.prior.fit(texts, pictures)
    return made.eval()


def pixels(seed=0):
    return torch.randint(0, 256, (1, 8, 8, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_ridge_regression_is_least_squares_without_weight_and_the_mean_with_a_great_one():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    true = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    y = with_constant(x) @ true
    assert torch.allclose(ridge_regression(x, y, 0.0), true)
    flat = ridge_regression(x, y, 1e9)
    assert flat[:-1].abs().max() < 1e-6
    assert torch.allclose(flat[-1], y.mean(0), atol=1e-6)


def test_standardised_embeddings_come_back():
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(300, 8, generator=generator) + 2, dim=1)
    prior = EmbeddingPrior(PriorConfig(16, 1), 8)
    prior.fit(torch.roll(z, 1, 0), z)
    standard = prior.standardised(z)
    assert torch.allclose(standard.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(standard.std(0), torch.ones(8), atol=1e-3)
    assert torch.allclose(prior.unit(standard), z, atol=1e-5)


def test_the_diffusion_prior_learns_a_gaussian():
    """Embeddings that do not depend on the text: the drawn ones have their mean and spread."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.3, 0.1, 0.05, 0.02])
    z = F.normalize(torch.tensor([1.0, 0, 0, 0]) + spread * torch.randn(2000, 4, generator=generator), dim=1)
    texts = F.normalize(torch.randn(2000, 4, generator=generator), dim=1)
    prior = EmbeddingPrior(PriorConfig(64, 2), 4)
    initialise(prior, 0)
    prior.fit(texts, z)
    optimiser = torch.optim.Adam(prior.parameters(), 2e-3)
    for step in range(600):
        rows = torch.randint(2000, (256,), generator=generator)
        loss = prior.loss(texts[rows], z[rows], torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = prior.draw(texts[:300], range(300), steps=20)
    assert torch.allclose(drawn.norm(dim=1), torch.ones(300), atol=1e-5)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.03)
    assert (drawn.std(0) / z.std(0) - 1).abs().max() < 0.25


def test_no_conditioning_is_told_apart():
    tokens = EmbeddingTokens(EmbeddingConfig(8, 3, 16))
    initialise(tokens, 0)
    z = F.normalize(torch.randn(2, 8), dim=1)
    z[1] = 0
    words = tokens(z)
    assert words.tokens.shape == (2, 3, 16)
    assert torch.equal(words.tokens[1], tokens.null[1:])
    assert torch.equal(words.pooled[1], tokens.null[0])
    assert not torch.equal(words.tokens[0], tokens.null[1:])


def test_what_it_can_do(model):
    assert isinstance(model, GenerativeModel)
    assert not isinstance(model, LikelihoodModel)
    for protocol in (BetweenPictures, BetweenPrompts, Edits, Varies):
        assert isinstance(model, protocol)


@pytest.mark.parametrize("prior", ["diffusion", "ridge", "none"])
def test_a_picture_does_not_depend_on_its_neighbours(model, prior):
    settings = UnclipSettings(steps=3, prior_steps=3, prior=prior)
    prompts, seeds = ["red apple", "blue fish"], [3, 4]
    together = final(model.draw(prompts, seeds, settings))
    for row in range(2):
        assert (final(model.draw([prompts[row]], [seeds[row]], settings))[0] == together[row]).all()
    z = model.embeddings(prompts, seeds, settings)
    assert torch.allclose(z.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.equal(z[1], model.embeddings(["blue fish"], [4], settings)[0])
    assert (model.embeddings([""], [4], settings) == 0).all()


def test_training_drops_both_conditionings(model):
    batch = model.batch(torch.cat([pixels(0), pixels(1)]), ["red apple", ""])
    assert (batch.ids[1] == 0).all()
    assert (batch.texts[1] == 0).all()
    assert torch.allclose(batch.ids[0].norm(), torch.tensor(1.0))
    losses = dict(model.losses(batch, torch.Generator().manual_seed(0)))
    assert set(losses) == set(model.parts()) == {"prior", "main"}
    losses["main"].backward()
    assert all(p.grad is None for p in model.clip.parameters())
    assert all(p.grad is None for p in model.prior.parameters())
    model.zero_grad()


def test_explorations(model):
    x = pixels()
    still = final(model.vary(x, [1], SETTINGS, strength=0.0))
    assert still.shape == (1, 8, 8, 4)
    assert (final(model.vary(x, [2], SETTINGS, strength=0.0)) == still).all()
    assert (final(model.vary(x, [1, 2], SETTINGS, strength=1.0))[0] != still[0]).any()
    point = model.invert(x, SETTINGS)
    again = model.blend_points(point, model.invert(pixels(1), SETTINGS), 0.0)
    assert torch.allclose(again[0], point[0], atol=1e-5)
    moved = final(model.edit(x, "apple", "red apple", [0], SETTINGS, strength=0.5))
    assert (moved != final(model.edit(x, "apple", "red apple", [0], SETTINGS, strength=0.0))).any()
    path = [model.blend(*(model.conditioning(p, 1, SETTINGS) for p in ("red apple", "blue fish")), f) for f in (0, 0.5)]
    assert torch.allclose(path[1].norm(), torch.tensor(1.0), atol=1e-5)
    assert np.ptp(final(model.draw_conditioned(path[1], [1], SETTINGS))) > 0
