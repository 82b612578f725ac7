"""Pictures drawn together are those drawn alone, but for rounding; kept ones are read, all others drawn again."""

import copy

import numpy as np
import pytest
import torch

from unstir.errors import UserError
from unstir.evaluate.run.generation import batch_drawer, check_captions, draw_pictures
from unstir.image.png import load_pixels, read_request, save_png
from unstir.models.pixels import to_pixels
from unstir.settings import DiffusionSettings

PROMPTS = ["a red circle", "two blue squares", "a pink cross", "a small black circle", "three green crosses"]
SEEDS = [5, 6, 7, 8, 9]


class Counted:
    """A `Draw` that paints the seed, and counts what it is asked."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, prompts, seeds):
        if self.fails_at in seeds:
            raise KeyboardInterrupt
        self.asked += seeds
        return np.stack([np.full((8, 8, 4), seed, np.uint8) for seed in seeds])


def test_together_is_as_alone(model, sampling):
    for settings in (sampling, DiffusionSettings(steps=3, sampler="ddpm", interval=(0.2, 0.8), threshold=0.99)):
        fast = batch_drawer(model, settings)(PROMPTS, SEEDS)
        *_, last = model.sample(model.encode(PROMPTS), SEEDS, settings)
        slow = to_pixels(last.x0).numpy()
        assert fast.shape == (5, 32, 32, 3)
        assert np.abs(fast.astype(int) - slow).max() <= 1
    assert (batch_drawer(model, sampling)(PROMPTS, SEEDS) == batch_drawer(model, sampling)(PROMPTS, SEEDS)).all()


def test_settings_that_do_not_exist(model):
    for settings in ({"sampler": "magic"}, {"steps": 0}, {"interval": (0.9, 0.1)}, {"threshold": 2.0}):
        with pytest.raises(ValueError):
            batch_drawer(model, DiffusionSettings(**settings))


def test_a_model_that_gives_no_picture_is_named(model, sampling):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        next(broken.network.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="lower the guidance"):
        batch_drawer(broken, sampling)(PROMPTS, SEEDS)


def test_a_caption_that_is_too_long_is_named_before_drawing(model):
    check_captions(model, PROMPTS)
    with pytest.raises(UserError, match="too long for the model"):
        check_captions(model, [*PROMPTS, "circle square " * 40])


def test_stopped_and_continued(tmp_path):
    whole = draw_pictures(Counted(), PROMPTS, SEEDS, {"a": 1}, batch=2)
    assert whole[:, 0, 0, 0].tolist() == SEEDS
    with pytest.raises(KeyboardInterrupt):
        draw_pictures(Counted(fails_at=8), PROMPTS, SEEDS, {"a": 1}, tmp_path, batch=2)
    rest = Counted()
    assert (draw_pictures(rest, PROMPTS, SEEDS, {"a": 1}, tmp_path, batch=2) == whole).all()
    assert rest.asked == [7, 8, 9]
    assert read_request(tmp_path / "000003.png") == {"a": 1, "prompt": PROMPTS[3], "seed": 8, "batch": [1, 2]}
    assert (load_pixels(tmp_path / "000003.png") == whole[3]).all()
    again = Counted()
    assert (draw_pictures(again, PROMPTS, SEEDS, {"a": 1}, tmp_path, batch=2) == whole).all()
    assert again.asked == []


@pytest.mark.parametrize("change", ["damaged", "missing", "another size", "no request"])
def test_a_batch_that_is_not_whole_is_drawn_again(tmp_path, change):
    whole = draw_pictures(Counted(), PROMPTS, SEEDS, {"a": 1}, tmp_path, batch=2)
    path = tmp_path / "000001.png"
    match change:
        case "damaged":
            path.write_bytes(path.read_bytes()[:60])
        case "missing":
            path.unlink()
        case "another size":
            save_png(path, np.zeros((9, 9, 4), np.uint8), read_request(path))
        case _:
            save_png(path, whole[1])
    again = Counted()
    assert (draw_pictures(again, PROMPTS, SEEDS, {"a": 1}, tmp_path, batch=2) == whole).all()
    assert again.asked == [5, 6]


def test_another_request_is_drawn_anew(tmp_path):
    for request, batch in (({"a": 1}, 2), ({"a": 2}, 2), ({"a": 2}, 3)):
        counted = Counted()
        draw_pictures(counted, PROMPTS, SEEDS, request, tmp_path, batch=batch)
        assert counted.asked[:3] == SEEDS[:3]


def test_numbers_that_do_not_fit():
    for prompts, seeds in (([], []), (PROMPTS, SEEDS[:2])):
        with pytest.raises(ValueError, match="one of each"):
            draw_pictures(Counted(), prompts, seeds)
