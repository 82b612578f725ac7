"""A model small enough to train in a test."""

import pytest
import torch
from recipe_runs import SMALL_TEXT, run_of_recipe

from unstir.data.digits import digit_pictures
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def eight():
    """A handwritten zero to seven, one of each, under its plain caption."""
    every = digit_pictures()
    kinds = [meta["digit"] for meta in every.meta]
    pictures = every.take([kinds.index(digit) for digit in range(8)])
    pictures.captions = [ways[:1] for ways in pictures.captions]
    return pictures


@pytest.fixture
def tiny(eight):
    """A function (folder, width, **TrainConfig fields) -> a run at its start on the eight pictures."""

    def new(folder, width=32, **fields):
        config = TrainConfig(**({"images": 96, "batch_size": 8, "warmup": 16, "save_every": 32} | fields))
        recipe = Recipe(
            model=DiffusionConfig(
                DiTConfig(8, 3, patch=2, width=width, depth=1, heads=2, bottleneck=8, words=32),
                SMALL_TEXT,
                sigma_data=0.75,
            ),
            train=config,
            prompts=("a handwritten zero", "a handwritten one"),
        )
        return run_of_recipe(recipe, eight, folder)

    return new
