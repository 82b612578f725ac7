"""Batches for CLIP, and which captions are true of which pictures."""

import time

import numpy as np
import pytest
import torch

from unstir.data.pictures import Pictures
from unstir.models.clip import Clip, ClipConfig
from unstir.models.pixels import to_model
from unstir.models.process_group import ProcessGroup
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer
from unstir.train import clip_batches as module
from unstir.train.clip_batches import clip_batches, matching_pairs, resize_to
from unstir.train.config import TrainConfig

WAYS = [("a cat", "an animal"), ("a dog", "an animal"), ("a car",), ("a cat", "a pet")] * 2
TOKENIZER = Tokenizer.train([way for ways in WAYS for way in ways], 280)


def pictures_of(side=8, channels=4):
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, channels), np.uint8)
    return Pictures(pixels, list(WAYS), [str(i) for i in range(8)], [{} for _ in range(8)])


@pytest.fixture
def model():
    vision = VisionConfig(size=8, channels=4, patch=4, width=16, depth=1, heads=2, mlp=16)
    text = ClipTextConfig(vocabulary=len(TOKENIZER), length=8, width=16, depth=1, heads=2, mlp=16)
    return Clip(ClipConfig(vision, text, width=8), TOKENIZER)


def test_same_is_what_it_says():
    captions = ["a cat", "an animal", "a car", "a pet", "a cat", "a dog", "a car", "a cat"]
    same = matching_pairs(captions, WAYS)
    assert same.dtype == torch.bool
    for i, caption in enumerate(captions):
        for j, ways in enumerate(WAYS):
            assert same[i, j].item() == (caption in ways), (i, j)
    assert same.diagonal().all()


def test_the_diagonal_is_true_whatever_is_said():
    assert torch.equal(matching_pairs(["x", "y"], [("a",), ("b",)]), torch.eye(2, dtype=torch.bool))


def test_same_is_quick():
    ways = [tuple(f"{i % 512} {k}" for k in range(20)) for i in range(2048)]
    began = time.process_time()
    same = matching_pairs([way[3] for way in ways], ways)
    crowd = matching_pairs(["one"] * 2048, [("one", "two")] * 2048)
    assert time.process_time() - began < 1  # it takes hundredths
    assert (same.sum(0) == 4).all()
    assert crowd.all()


def test_a_batch_is_pictures_and_their_own_words(model):
    pictures, config = pictures_of(), TrainConfig(images=8, batch_size=4, caption_dropout=1.0)
    seen = []
    for start in (0, 4):
        batch = clip_batches(pictures, model, config).next_batch(start)
        wanted = to_model(torch.from_numpy(pictures.pixels))
        rows = [next(i for i, p in enumerate(wanted) if torch.equal(p, x0)) for x0 in batch.x0]
        said = [TOKENIZER.decode(ids.tolist()) for ids in batch.ids]
        assert all(text in WAYS[row] for text, row in zip(said, rows, strict=True))
        assert torch.equal(batch.same, matching_pairs(said, [WAYS[row] for row in rows]))
        seen += rows
    assert sorted(seen) == list(range(8))
    again = clip_batches(pictures, model, config).next_batch(4)
    assert torch.equal(again.x0, batch.x0)
    assert torch.equal(again.ids, batch.ids)


def test_processes_share_a_batch(model, monkeypatch):
    pictures, config = pictures_of(), TrainConfig(images=8, batch_size=6)
    whole = clip_batches(pictures, model, config).next_batch(0)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(module, "process_group", lambda rank=rank: ProcessGroup(rank, 2))
        parts.append(clip_batches(pictures, model, config).next_batch(0))
    assert torch.equal(torch.cat([part.x0 for part in parts]), whole.x0)
    assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
    assert all(torch.equal(part.same, whole.same) for part in parts)


def test_larger_pictures_are_averaged_down(model):
    pictures = pictures_of(side=24)
    batch = clip_batches(pictures, model, TrainConfig(images=8, batch_size=2)).next_batch(0)
    assert batch.x0.shape == (2, 4, 8, 8)
    x0 = to_model(torch.from_numpy(pictures.pixels))
    small = resize_to(x0, (4, 8, 8))
    torch.testing.assert_close(small[3, 1, 2, 5], x0[3, 1, 6:9, 15:18].mean())


def test_pictures_that_do_not_fit_are_refused():
    for shape in ((1, 3, 8, 8), (1, 4, 12, 12), (1, 4, 4, 4), (1, 4, 16, 8)):
        with pytest.raises(ValueError, match="cannot be made"):
            resize_to(torch.zeros(shape), (4, 8, 8))
