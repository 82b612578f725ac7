"""The network that people train by default, on more than one thread: stopped and continued, to the same bits."""

import torch
from recipe_runs import run_of_recipe

from unstir.data.digits import digit_pictures
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.train import checkpoint
from unstir.train.config import TrainConfig
from unstir.train.loop import training_loop
from unstir.train.recipe import Recipe


def a_run(folder):
    recipe = Recipe(
        model=DiffusionConfig(
            UNetConfig(16, 3, widths=(16, 32), blocks=(1, 1), attend=(False, True), head=16, words=32, vector=32),
            TextConfig(vocabulary=300, length=12, width=32, depth=1),
        ),
        train=TrainConfig(images=640, batch_size=32, warmup=64, save_every=64, log_every=64),
        prompts=("a handwritten zero",),
    )
    return run_of_recipe(recipe, digit_pictures(size=16).take(range(64)), folder)


def tensors(folder):
    return checkpoint.load_checkpoint(folder).tensors


def test_a_unet_on_two_threads_continues_to_the_same_bits(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(training_loop(a_run(tmp_path / "whole")))
        for at in (96, 320):
            part = a_run(tmp_path / "parts")
            list(training_loop(part, stop=lambda part=part, at=at: part.images_seen >= at))
        list(training_loop(a_run(tmp_path / "parts")))
    finally:
        torch.set_num_threads(before)
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
