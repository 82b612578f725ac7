"""The transformers over codes: what sees what, cached and not, probabilities, drawing, and one picture at a time."""

import itertools

import numpy as np
import pytest
import torch

from unstir.models.autoencoder import Autoencoder, AutoencoderConfig, KlConfig
from unstir.models.code_model import (
    CodeModel,
    CodeModelConfig,
    MaskedCodeModel,
    MaskedCodeModelConfig,
    drawn_code,
)
from unstir.models.generative import final
from unstir.models.quantise import FsqConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.nn.code_transformer import CodeTransformer, CodeTransformerConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig, TextEncoding
from unstir.settings import CodeSettings, MaskedCodeSettings
from unstir.text.tokenizer import Tokenizer

AUTOENCODER = AutoencoderConfig(8, ConvNetConfig(4, 2, patch=2, widths=(16,), blocks=1), FsqConfig((3, 2)))


def model_of(masked=False, seed=0):
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    text = TextConfig(len(tokenizer), length=12, width=32, depth=1, heads=2)
    network = CodeTransformerConfig(side=4, codes=6, width=32, depth=2, heads=2, words=32)
    kinds = (MaskedCodeModel, MaskedCodeModelConfig) if masked else (CodeModel, CodeModelConfig)
    model = kinds[0](kinds[1](network, text, AUTOENCODER), tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def words_of(model, *prompts):
    with torch.no_grad():
        return TextEncoding.joined([model.text(model.tokenize([prompt])) for prompt in prompts])


def test_logits_do_not_see_their_code_nor_later_ones():
    model = model_of()
    words = words_of(model, "red apple")
    codes = torch.randint(6, (1, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.logits(codes, words)
        for position in range(16):
            other = codes.clone()
            other[0, position] = (codes[0, position] + 1) % 6
            changed = (model.logits(other, words) - before).abs().amax(-1)[0] > 1e-7
            assert not changed[: position + 1].any()
            assert changed[position + 1 :].all()


def test_cached_is_uncached():
    model = model_of()
    words = words_of(model, "red apple", "blue fish")
    codes = torch.randint(6, (2, 16), generator=torch.Generator().manual_seed(0))
    caches, fed = model.network.new_caches(), torch.full((2,), model.network.special)
    with torch.no_grad():
        whole = model.logits(codes, words)
        for position in range(16):
            step = model.network.step(fed, position, words, caches)
            assert torch.allclose(step, whole[:, position], atol=1e-5)
            fed = codes[:, position]


def test_the_probabilities_of_all_short_sequences_sum_to_one():
    network = CodeTransformer(CodeTransformerConfig(side=2, codes=3, width=32, depth=1, heads=2, words=32), causal=True)
    initialise(network, 0)
    with torch.no_grad():
        network.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    words = words_of(model_of(), "red apple")
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    fed = torch.cat([torch.full((81, 1), network.special), rows[:, :-1]], 1)
    with torch.no_grad():
        logits = network(fed, words.repeat(81)).log_softmax(-1)
    total = logits.gather(-1, rows[..., None]).sum((1, 2)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_picture_does_not_depend_on_its_neighbours(masked):
    model = model_of(masked)
    prompts, seeds = ["red apple", "blue fish", "red fish"], [3, 4, 5]
    together = final(model.draw(prompts, seeds))
    assert together.shape == (3, 8, 8, 4)
    for row in range(3):
        assert (final(model.draw([prompts[row]], [seeds[row]]))[0] == together[row]).all()
    fast = final(model.draw(prompts, seeds, exact=False))
    assert np.mean(fast == together) > 0.9
    assert not (final(model.draw(["red apple"], [9]))[0] == together[0]).all()


@pytest.mark.parametrize("masked", [False, True])
def test_frames(masked):
    model = model_of(masked)
    settings = MaskedCodeSettings(steps=5) if masked else CodeSettings()
    frames = list(model.draw(["red apple"], [1], settings))
    assert [frame.i for frame in frames] == list(range(5 if masked else 4))
    assert all(frame.total == len(frames) for frame in frames)
    known = [(frame.state[0, ..., 0] > 0).sum() for frame in frames]
    assert known == sorted(known)
    assert known[-1] == 64
    if not masked:
        assert known[:3] == [16, 32, 48]


def test_drawn_codes_have_the_probabilities_of_the_logits():
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0])
    seeds = list(range(4000))
    drawn = drawn_code(logits.expand(4000, -1), seeds, 0, CodeSettings())
    found = torch.bincount(drawn, minlength=4) / 4000
    assert (found - logits.softmax(0)).abs().max() < 0.03
    assert (drawn_code(logits.expand(9, -1), seeds[:9], 0, CodeSettings(temperature=0)) == 2).all()
    top = drawn_code(logits.expand(500, -1), seeds[:500], 0, CodeSettings(top_k=2))
    assert set(top.tolist()) == {0, 2}


def test_guidance_extrapolates_log_probabilities():
    model = model_of()
    given, empty = torch.randn(2, 1, 6)
    both = torch.cat([given, empty])
    found = model._guided(both, 1, CodeSettings(guidance_scale=3.0))
    wanted = 3 * given.log_softmax(-1) - 2 * empty.log_softmax(-1)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_network_learns_two_grids(masked):
    model = model_of(masked)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(6, (2, 4, 4), generator=generator)
    batch = model.code_batch(codes, ["red apple", "blue fish"])
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    model.train()
    for step in range(400):
        (_, loss), *_ = model.losses(batch, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    settings = (MaskedCodeSettings if masked else CodeSettings)(guidance_scale=1.0)
    made = final(model.draw(["red apple", "blue fish"], [0, 1], settings))
    assert (made == model.decoded(codes.flatten(1))).all()


def test_what_cannot_be():
    network = CodeTransformerConfig(side=4, codes=6)
    text = TextConfig(300)
    with pytest.raises(ValueError, match="6, and the autoencoder"):
        CodeModelConfig(network, text, AutoencoderConfig(8, AUTOENCODER.network, FsqConfig((3, 3))))
    with pytest.raises(ValueError, match="bottleneck is quantised"):
        CodeModelConfig(network, text, AutoencoderConfig(8, AUTOENCODER.network, KlConfig()))
    assert isinstance(Autoencoder(AUTOENCODER), Autoencoder)
