"""The data of a comparison: one set of training pictures for all models, and one of pictures that none of them sees."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.data.built_in import open_data
from unstir.data.pack_files import LISTING
from unstir.data.pictures import Pictures
from unstir.data.shapes import shape_pictures
from unstir.errors import UserError
from unstir.evaluate.run.inputs import picture_groups
from unstir.evaluate.statistics.resampling import permutation
from unstir.train import run_folder
from unstir.train.read_data import read_at_size, read_for_budget
from unstir.train.run_setup import RunSetup

HELD_OUT_FRACTION, LEAST_HELD_OUT, MOST_HELD_OUT, LEAST_PICTURES = 0.1, 16, 1000, 64

NEW_SHAPES = 2_000
"""Held-out shapes: new scenes in the combinations that training shows."""


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    folder: of everything that belongs to it.
    budget: seconds of training of each model, all of its stages together.
    n: pictures of each model.
    seeds: how many times each kind is trained.
    side: of the pictures; None: chosen by the budget.
    """

    data: str
    folder: Path
    kinds: tuple[str, ...]
    budget: float
    n: int = 500
    seeds: int = 1
    seed: int = 0
    side: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class ComparedData:
    """name: as it was typed.  train: folder of the packed training pictures.  pictures, held_out: the two parts."""

    name: str
    train: Path
    pictures: Pictures
    held_out: Pictures

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side)."""
        _, height, width, channels = self.pictures.pixels.shape
        return channels, height, width

    def prompts(self, count: int, seed: int) -> list[int]:
        """Rows of training pictures whose captions are the prompts: chosen at random, each as often as any other."""
        rows = permutation(len(self.pictures), seed)
        return [int(row) for row in np.resize(rows, count)]


def prepare_data(setup: RunSetup, side: int | None = None) -> ComparedData:
    """Read the data into the folder of the comparison, once, and divide it.

    setup: its folder is that of the comparison, its budget the one of each model.
    side: of the pictures; None: chosen by the budget.
    Of a folder a tenth of the groups of pictures that show the same is held out, MOST_HELD_OUT pictures at most.
    UserError where there are too few pictures.
    """
    train, held = setup.folder / "data" / "train", setup.folder / "data" / "held_out"
    if not (held / LISTING).exists():
        seen, unseen = _divided(setup, side)
        seen.save(train)
        unseen.save(held)
    return ComparedData(setup.data, train, Pictures.load(train), Pictures.load(held))


def _divided(setup: RunSetup, side: int | None) -> tuple[Pictures, Pictures]:
    found = open_data(setup.data)
    if isinstance(found, Pictures):
        if setup.data == "shapes":
            return found, shape_pictures(NEW_SHAPES, seed=1)
        unseen = open_data(setup.data, held_out=True)
        assert isinstance(unseen, Pictures)
        return found, unseen
    where = setup.folder / "data"
    reading = RunSetup(setup.data, where, setup.device, setup.budget, setup.began, setup.seed, setup.reporter)
    if side is None:
        read_for_budget(reading)
    else:
        read_at_size(reading, side)
    packed = where / run_folder.PICTURES
    every = Pictures.load(packed)
    if len(every) < LEAST_PICTURES:
        raise UserError(f"a comparison needs {LEAST_PICTURES} pictures or more, and there are {len(every)}")
    out = held_out_rows(picture_groups(every), setup.seed)
    parts = every.take(np.flatnonzero(~out).tolist()), every.take(np.flatnonzero(out).tolist())
    shutil.rmtree(packed)
    return parts


def held_out_rows(groups: list[str], seed: int) -> NDArray[np.bool_]:
    """Which pictures are held out: whole groups, in random order, until there are enough."""
    counts = Counter(groups)
    names, wanted = sorted(counts), min(MOST_HELD_OUT, max(LEAST_HELD_OUT, round(HELD_OUT_FRACTION * len(groups))))
    chosen: set[str] = set()
    taken = 0
    for number in permutation(len(names), seed):
        if taken >= wanted:
            break
        chosen.add(names[number])
        taken += counts[names[number]]
    return np.array([group in chosen for group in groups])
