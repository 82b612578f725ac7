"""What comes next is a function of the seed and of the pictures seen, and of nothing else."""

from dataclasses import replace

import pytest
import torch

from unstir.models.pixels import to_model
from unstir.train.batches import captions_at, picture_batches, rng_at
from unstir.train.config import TrainConfig

WAYS = [("a", "b"), ("c",)] * 32


def batch_at(run, images_seen, **changes):
    return picture_batches(run.model, run.pictures, replace(run.config, **changes)).next_batch(images_seen)


def test_batches_depend_on_nothing_that_came_before(tiny, tmp_path):
    run = tiny(tmp_path)
    ahead = batch_at(run, 40)
    for seen in (0, 8, 16):
        batch_at(run, seen)
        torch.rand(3)
    again = batch_at(run, 40)
    assert torch.equal(ahead.x0, again.x0)
    assert torch.equal(ahead.ids, again.ids)


def test_seed_and_clock_both_matter(tiny, tmp_path):
    run = tiny(tmp_path)
    here = batch_at(run, 0)
    later = batch_at(run, 8)
    other = batch_at(run, 0, seed=1)
    assert not torch.equal(here.x0, later.x0)
    assert not torch.equal(here.x0, other.x0)


def test_every_epoch_shows_every_picture_once_under_its_own_caption(tiny, tmp_path):
    run = tiny(tmp_path, batch_size=4, caption_dropout=0.0)
    wanted = to_model(torch.from_numpy(run.pictures.pixels))
    for epoch in range(3):
        seen = []
        for start in (0, 4):
            batch = batch_at(run, 8 * epoch + start)
            for x0, ids in zip(batch.x0, batch.ids, strict=True):
                row = next(i for i, picture in enumerate(wanted) if torch.equal(picture, x0))
                assert run.model.tokenizer.decode(ids.tolist()) == run.pictures.captions[row][0]
                seen.append(row)
        assert sorted(seen) == list(range(8))


def test_share_without_words():
    config = TrainConfig(images=1, caption_dropout=0.1)
    said = [text for step in range(100) for text in captions_at(WAYS, config, 64 * step)]
    share = said.count("") / len(said)
    assert share == pytest.approx(0.1, abs=0.015)  # 4 standard deviations of 6,400 throws
    # Alternatives come equally often.
    assert said.count("a") / (said.count("a") + said.count("b")) == pytest.approx(0.5, abs=0.04)


def test_no_dropout_and_nothing_but_dropout():
    for seen in range(0, 640, 64):
        said = captions_at(WAYS, TrainConfig(images=1, caption_dropout=0.0), seen)
        assert all(text in ways for text, ways in zip(said, WAYS, strict=True))
        assert set(captions_at(WAYS, TrainConfig(images=1, caption_dropout=1.0), seen)) == {""}


def test_noise_of_a_step():
    config = TrainConfig(images=1)
    device = torch.device("cpu")

    def numbers(settings, seen):
        return torch.rand(4, generator=rng_at(settings, seen, device))

    assert torch.equal(numbers(config, 64), numbers(config, 64))
    assert not torch.equal(numbers(config, 64), numbers(config, 128))
    assert not torch.equal(numbers(config, 64), numbers(replace(config, seed=1), 64))
