"""The cascade: what a stage sees of the smaller picture, frames of all sizes, one picture at a time."""

import pytest
import torch

from unstir.models.cascade import Cascade, CascadeConfig, Stage
from unstir.models.clip import Clip, ClipConfig
from unstir.models.generative import GenerativeModel, final
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.frozen_text import FrozenTextConfig
from unstir.nn.init import initialise
from unstir.nn.unet import UNetConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import CascadeSettings
from unstir.text.tokenizer import Tokenizer

SETTINGS = CascadeSettings(steps=3, enlarging_steps=2)


def network(side, channels):
    return UNetConfig(
        side, channels, patch=1, widths=(16, 32), blocks=(1, 1), attend=(False, True), words=32, vector=32
    )


def config_of(tokenizer):
    clip = ClipConfig(
        VisionConfig(16, 3, patch=8, width=32, depth=1, heads=2, mlp=64),
        ClipTextConfig(len(tokenizer), length=12, width=32, depth=1, heads=2, mlp=64),
        width=16,
    )
    return CascadeConfig((network(4, 3), network(8, 6), network(16, 6)), FrozenTextConfig(32, 32), clip)


@pytest.fixture(scope="module")
def model():
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    made = Cascade(config_of(tokenizer), tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return made.eval()


def test_frames_of_all_sizes(model):
    assert isinstance(model, GenerativeModel)
    frames = list(model.draw(["red apple"], [1], SETTINGS))
    assert [frame.i for frame in frames] == list(range(7))
    assert all(frame.total == 7 and frame.picture.shape == (1, 16, 16, 3) for frame in frames)
    blocks = frames[2].picture.reshape(4, 4, 4, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()  # the first stage has 4×4 pixels
    blocks = frames[-1].picture.reshape(8, 2, 8, 2, 3)
    assert not (blocks == blocks[:, :1, :, :1]).all()


def test_a_picture_does_not_depend_on_its_neighbours(model):
    prompts, seeds = ["red apple", "blue fish"], [3, 4]
    together = final(model.draw(prompts, seeds, SETTINGS))
    for row in range(2):
        assert (final(model.draw([prompts[row]], [seeds[row]], SETTINGS))[0] == together[row]).all()


def test_every_size_is_a_part(model):
    batch = model.batch(torch.zeros(4, 16, 16, 3, dtype=torch.uint8), ["red apple"] * 4)
    found = dict(model.losses(batch, torch.Generator().manual_seed(0)))
    assert list(found) == list(model.parts()) == ["4 px", "8 px", "16 px"]
    found["8 px"].backward()
    with_gradient = [i for i, stage in enumerate(model.stages) if any(p.grad is not None for p in stage.parameters())]
    assert with_gradient == [1]
    assert all(p.grad is None for p in model.encoder.parameters())
    model.zero_grad()


def test_at_full_noise_the_smaller_picture_is_not_seen(model):
    words = model.words(model.tokenize(["red apple"]), 1)
    small = torch.rand(1, 3, 4, 4, requires_grad=True)
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    hidden = model._shown(words, small, torch.ones(1), noise)
    hidden.small.square().sum().backward()
    assert small.grad.abs().max() == 0
    seen = model._shown(words, small, torch.zeros(1), noise)
    enlarged = torch.nn.functional.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(seen.small, enlarged, atol=1e-6)


def test_a_new_stage_begins_with_the_smaller_picture():
    tokenizer = Tokenizer.train(["red apple"], 300)
    config = config_of(tokenizer)
    model = Cascade(config, tokenizer)
    initialise(model, 0)
    clip = Clip(config.encoder, tokenizer)
    initialise(clip, 0)
    model.adopt(clip)
    assert isinstance(model.stages[1], Stage)
    words = model.words(model.tokenize(["red apple"]), 1)
    small = torch.rand(1, 3, 4, 4)
    cond = model._shown(words, small, torch.full((1,), 0.01), torch.zeros(1, 3, 8, 8))
    with torch.no_grad():
        made = model.denoiser(1)(torch.randn(1, 3, 8, 8), torch.ones(1), cond)
    assert torch.allclose(made, cond.small, atol=0.02)


def test_thresholding_twice_changes_nothing_more(model):
    from unstir.diffusion.guidance import dynamic_threshold

    once = dynamic_threshold(lambda xt, t, cond: xt, 0.99)
    x = 3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first = once(x, torch.ones(2), None)
    assert first.abs().max() <= 1
    assert torch.equal(once(first, torch.ones(2), None), first)


def test_what_cannot_be(model):
    with pytest.raises(ValueError, match="cannot follow"):
        CascadeConfig((network(4, 3), network(6, 6)), FrozenTextConfig(32, 32), model.config.encoder)
    with pytest.raises(ValueError, match="cannot follow"):
        CascadeConfig((network(4, 3), network(8, 3)), FrozenTextConfig(32, 32), model.config.encoder)
    with pytest.raises(ValueError, match="16 pixels only"):
        model.draw(["red apple"], [1], CascadeSettings(size=32))
