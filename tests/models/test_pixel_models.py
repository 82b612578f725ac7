"""PixelCNN and PixelRNN: exact likelihoods, drawing pixel by pixel, one picture at a time, and what they learn."""

import itertools
import math

import numpy as np
import pytest
import torch

from unstir.diffusion.noise import batch_uniform
from unstir.models.exploration import BetweenPrompts, Varies
from unstir.models.generative import GenerativeModel, LikelihoodModel, NotFinite, final
from unstir.models.logistic_mixture import drawn_levels
from unstir.models.pixel_model import PixelBatch, dropout_mask
from unstir.models.pixelcnn import PixelCnn, PixelCnnConfig
from unstir.models.pixelrnn import PixelRnn, PixelRnnConfig
from unstir.models.process_group import ProcessGroup
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.settings import PixelSettings
from unstir.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["red apple", "blue fish"], 300)
TEXT = TextConfig(len(TOKENIZER), length=12, width=16, depth=1, heads=2)
KINDS = ("cnn", "row", "diagonal")


def model_of(kind, size=4, channels=3, scale=0.3, dtype=torch.float32, **values):
    """A model with random weights; scale 0: as training begins."""
    values = {"levels": 5, "components": 2, **values}
    if kind == "cnn":
        model = PixelCnn(PixelCnnConfig(size, channels, TEXT, width=12, blocks=1, **values), TOKENIZER)
    else:
        model = PixelRnn(PixelRnnConfig(size, channels, TEXT, lstm=kind, hidden=12, layers=2, **values), TOKENIZER)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(0)
    if scale:
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.to(dtype).eval()


def random_pixels(model, count=3, seed=0):
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    shape = (count, config.size, config.size, config.modelled)
    numbers = torch.randint(config.levels, shape, generator=generator)
    return (numbers * (255 / (config.levels - 1))).round().to(torch.uint8).expand(-1, -1, -1, config.channels)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_model_that_draws_and_has_a_likelihood(kind):
    model = model_of(kind)
    for interface in (GenerativeModel, LikelihoodModel, BetweenPrompts, Varies):
        assert isinstance(model, interface)
    pixels, captions = random_pixels(model, 2), ["red apple", "blue fish"]
    bits = list(model.picture_bits(pixels, captions, [0, 0]))
    assert bits[1:] == list(model.picture_bits(pixels[1:], captions[1:], [5]))
    (name, loss), *rest = model.losses(model.batch(pixels, captions), torch.Generator().manual_seed(0))
    assert (name, rest) == ("main", [])
    assert loss.item() == pytest.approx(np.mean(bits), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_values_depend_on_those_before_them_only_and_on_all_of_them(kind):
    """Channel after channel, pixel after pixel."""
    model = model_of(kind, size=3, levels=4, dtype=torch.float64)
    vector = model.encode(["red apple"])
    x = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1

    def tables(x):
        mixture = model.mixture_of(model.network(x, vector))
        values = x.movedim(1, -1)
        every = [mixture.channel_log_probabilities(values[..., :channel]) for channel in range(3)]
        return torch.stack(every, -2).flatten(0, 3).square().sum(-1)

    jacobian = torch.autograd.functional.jacobian(tables, x).movedim(2, -1).reshape(27, 27)
    assert ((jacobian != 0) == torch.ones(27, 27, dtype=torch.bool).tril(-1)).all()


def every_picture(levels, channels, size=2):
    """(levels^(C·S²), C, S, S)."""
    values = list(itertools.product(range(levels), repeat=channels * size**2))
    return torch.tensor(values).view(-1, channels, size, size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("levels", "channels", "grey"), [(3, 3, True), (2, 3, False)])
def test_all_pictures_sum_to_one(kind, levels, channels, grey):
    model = model_of(kind, 2, channels, levels=levels, grey=grey, dtype=torch.float64)
    numbers = every_picture(levels, 1 if grey else channels)
    with torch.no_grad():
        ids = model.tokenize(["red apple"]).expand(len(numbers), -1)
        total = model.log_likelihood(PixelBatch(numbers, ids)).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-9)


def test_bits_are_of_stored_values():
    """A grey picture of three equal channels has three times as many stored values as modelled ones."""
    grey = model_of("cnn", levels=17, grey=True)
    pixels = random_pixels(grey, 1)
    (bits,) = grey.picture_bits(pixels, ["red apple"], [0])
    likelihood = grey.log_likelihood(grey.batch(pixels, ["red apple"])).item()
    assert bits == pytest.approx(-likelihood / math.log(2) / 48, rel=1e-5)
    # A picture that is not on the grid is improbable, not impossible.
    stray = pixels.clone()
    stray[0, 0, 0, 0] += 1
    (more,) = grey.picture_bits(stray, ["red apple"], [0])
    assert 48 * (more - bits) == pytest.approx(-math.log2(1e-6 / (16 * 256**2)), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "grey"), [(3, True), (4, False)])
def test_cached_drawing_draws_what_full_passes_draw(kind, channels, grey):
    """The logits agree to rounding, so the same random numbers give the same levels."""
    model = model_of(kind, 4, channels, grey=grey, dtype=torch.float64)
    modelled, seeds, prompts = model.config.modelled, [3, 4], ["red apple", "blue fish"]
    numbers, uniform = torch.zeros(2, modelled, 4, 4, dtype=torch.int64), batch_uniform((modelled, 4, 4), seeds, 0)
    ids = torch.cat([model.tokenize([prompt]) for prompt in prompts])
    with torch.no_grad():
        for row, column, channel in itertools.product(range(4), range(4), range(modelled)):
            mixture, x = model.mixture(PixelBatch(numbers, ids))
            logs = mixture.channel_log_probabilities(x[..., :channel])[:, row, column]
            numbers[:, channel, row, column] = drawn_levels(logs, uniform[:, channel, row, column], 1.0)
        rows = list(model._rows(model.encode(prompts), seeds, PixelSettings(), None))
    assert (rows[-1] == numbers).all()
    assert (rows[1][:, :, :2] == numbers[:, :, :2]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_drawn_as_often_as_they_are_probable(kind):
    model = model_of(kind, 2, levels=2, grey=True)
    every, count = every_picture(2, 1), 1000
    with torch.no_grad():
        wanted = model.log_likelihood(PixelBatch(every, model.tokenize(["red apple"]).expand(16, -1))).exp()
    drawn = final(model.draw(["red apple"] * count, range(count), exact=False))[..., 0].reshape(count, 4) > 0
    share = torch.bincount(torch.from_numpy(drawn @ np.array([8, 4, 2, 1])), minlength=16) / count
    assert ((share - wanted).abs() < 4.5 * (wanted * (1 - wanted) / count).sqrt() + 1e-3).all()
    assert wanted.max() > 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_does_not_depend_on_its_neighbours(kind):
    model = model_of(kind, channels=4)
    prompts, seeds, settings = ["red apple", "blue fish", "red fish"], [3, 4, 5], PixelSettings(guidance_scale=2)
    together = final(model.draw(prompts, seeds, settings))
    for row in range(3):
        assert (final(model.draw([prompts[row]], [seeds[row]], settings))[0] == together[row]).all()
    assert (final(model.draw(prompts, seeds, settings, exact=False)) == together).mean() > 0.95
    assert (together[0] != final(model.draw(prompts[:1], [9], settings))[0]).any()


@pytest.mark.parametrize(("channels", "empty"), [(3, 128), (4, 0)])
def test_frames_are_rows(channels, empty):
    model = model_of("cnn", channels=channels)
    frames = list(model.draw(["red apple", "blue fish"], [1, 2]))
    assert [(frame.i, frame.total) for frame in frames] == [(i, 4) for i in range(4)]
    for i, frame in enumerate(frames):
        assert (frame.picture[:, : i + 1] == frames[-1].picture[:, : i + 1]).all()
        assert (frame.picture[:, i + 1 :] == empty).all()
        assert frame.state is None


def test_settings():
    model = model_of("cnn", levels=17, grey=True)

    def drawn(prompt="red apple", seed=1, **values):
        return final(model.draw([prompt], [seed], PixelSettings(**values)))

    assert (drawn(temperature=0) == drawn(seed=2, temperature=0)).all()
    assert (drawn() != drawn(seed=2)).any()
    assert (drawn(guidance_scale=4) != drawn()).any()
    # Scale 0 draws as the empty prompt does.
    assert (drawn(guidance_scale=0) == drawn(prompt="", guidance_scale=1)).all()
    halfway = model.blend(model.encode(["red apple"]), model.encode(["blue fish"]), 1.0)
    assert (final(model.draw_conditioned(halfway, [1], PixelSettings())) == drawn("blue fish")).all()


@pytest.mark.parametrize("kind", KINDS)
def test_completions_keep_the_upper_rows(kind):
    model = model_of(kind)
    pixels = random_pixels(model, 1)
    made = final(model.vary(pixels, [1, 2], strength=0.5, prompt="red apple"))
    assert (made[:, :2] == pixels[:, :2].numpy()).all()
    assert (made[0, 2:] != made[1, 2:]).any()
    assert (final(model.vary(pixels, [1], strength=0.0)) == pixels.numpy()).all()
    # All rows anew is drawing.
    anew = final(model.vary(pixels, [1], strength=1.0, prompt="red apple"))
    assert (anew == final(model.draw(["red apple"], [1]))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_is_certain_and_what_a_word_means(kind):
    """Pictures that follow from their caption need no bits, once the caption is known."""
    model = model_of(kind, size=4, levels=17, grey=True, scale=0).train()
    pixels = torch.full((2, 4, 4, 3), 159, dtype=torch.uint8)
    pixels[0, :2], pixels[0, 2:] = 255, 64
    pixels, captions = pixels.repeat(2, 1, 1, 1), ["red apple", "blue fish"] * 2
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    batch = model.batch(pixels, captions)
    for step in range(80):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - step / 80)
        (_, loss), *_ = model.losses(batch, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
    bits = list(model.picture_bits(pixels[:2], captions[:2], [0, 0]))
    assert max(bits) < 0.15  # from 1.4
    exchanged = list(model.picture_bits(pixels[:2], captions[1:3], [0, 0]))
    assert min(exchanged) > 2 * max(bits)
    drawn = final(model.draw(captions[:2], [0, 1], PixelSettings(temperature=0)))
    assert (drawn == pixels[:2].numpy()).all()


def test_nan_is_reported():
    model = model_of("diagonal")
    with torch.no_grad():
        model.network.out.bias.fill_(torch.nan)
    with pytest.raises(NotFinite, match="lower learning rate"):
        final(model.draw(["red apple"], [1]))


def test_dropout_is_drawn_for_all_processes_together(monkeypatch):
    def mask(shape, fraction=0.3):
        return dropout_mask(shape, torch.float32, fraction, torch.Generator().manual_seed(1))

    whole = mask((64, 6, 5, 4))
    assert whole.unique().tolist() == pytest.approx([0, 256 / (256 - 77)])
    assert whole.mean().item() == pytest.approx(1, abs=0.02)
    for rank in range(2):
        monkeypatch.setattr("unstir.models.pixel_model.process_group", lambda rank=rank: ProcessGroup(rank, 2))
        assert (mask((32, 6, 5, 4)) == whole[32 * rank : 32 * rank + 32]).all()


def test_what_cannot_be():
    for values, fault in (
        ({"levels": 1}, "levels must be 2 to 256"),
        ({"channels": 4, "grey": True}, "stored with 3 channels"),
        ({"components": 0}, "components must be 1 or more"),
        ({"dropout": 1.0}, "dropout 0 to 1"),
    ):
        with pytest.raises(ValueError, match=fault):
            PixelCnnConfig(**{"size": 8, "channels": 3, "text": TEXT, **values})
    with pytest.raises(ValueError, match="3 scales do not divide pictures of 10 pixels"):
        PixelCnnConfig(10, 3, TEXT, scales=3)
    with pytest.raises(ValueError, match="there are: diagonal, row"):
        PixelRnnConfig(8, 3, TEXT, lstm="column")
