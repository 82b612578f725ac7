"""Batches of pictures and captions: a pure function of the seed and the training clock."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from unstir.data.order import CAPTION, NOISE, ORDER, VALIDATION, order
from unstir.data.pictures import Pictures
from unstir.diffusion.noise import derive_seed
from unstir.diffusion.philox import keyed_generator
from unstir.models.process_group import process_group
from unstir.train.config import TrainConfig

Rows = npt.NDArray[np.int64]


class BatchSource(NamedTuple):
    """Where batches come from.

    next_batch: (images_seen) -> the batch, a pure function.
    release: frees its resources; to be called at the end.
    """

    next_batch: Callable[[int], Any]
    release: Callable[[], None] = lambda: None


def split(pictures: Pictures, config: TrainConfig) -> tuple[Rows, Rows]:
    """Rows to train on, and rows held back for validation, each in rising order.

    With `validation_by` "content", rows of the same pixels stay together, so a few more than `config.validation` rows
    may be held back.
    ValueError where no picture would be left for training.
    """
    count = len(pictures)
    if config.validation == 0:
        return _split_rows(count, 0, config.seed)
    if config.validation >= count:
        raise ValueError(f"{config.validation} of {count} pictures cannot be held back: none would be left to train on")
    if config.validation_by == "row":
        return _split_rows(count, config.validation, config.seed)
    contents = np.unique(pictures.content_ids, return_inverse=True)[1]
    shuffled = order(count, derive_seed(config.seed, VALIDATION), 0, count)
    first = np.unique(contents[shuffled], return_index=True)[1]
    chosen = contents[shuffled[np.sort(first)]]  # every content once, in shuffled order
    sizes = np.bincount(contents)[chosen]
    enough = int(np.searchsorted(np.cumsum(sizes), config.validation)) + 1
    held = np.isin(contents, chosen[:enough])
    if held.all():
        raise ValueError(f"{config.validation} of {count} pictures cannot be held back: the rest have the same pixels")
    return np.flatnonzero(~held), np.flatnonzero(held)


@lru_cache(maxsize=4)
def _split_rows(count: int, validation: int, seed: int) -> tuple[Rows, Rows]:
    shuffled = order(count, derive_seed(seed, VALIDATION), 0, count)
    trained, held = np.sort(shuffled[validation:]), np.sort(shuffled[:validation])
    for rows in (trained, held):
        rows.setflags(write=False)  # they are shared by the cache
    return trained, held


def rows_at(trained: Rows, config: TrainConfig, images_seen: int) -> Rows:
    """The rows of the batch after `images_seen` pictures, of all processes together.

    trained: rows to train on, from `split`.
    """
    return trained[order(len(trained), derive_seed(config.seed, ORDER), images_seen, config.batch_size)]


def captions_at(alternatives: Sequence[Sequence[str]], config: TrainConfig, images_seen: int) -> list[str]:
    """One caption for each picture of a batch, "" where it is dropped.

    alternatives: the captions of each picture.
    """
    rng = keyed_generator(derive_seed(config.seed, images_seen, CAPTION))
    chosen = []
    for ways in alternatives:
        drop, pick = rng.random(2)
        chosen.append("" if drop < config.caption_dropout else ways[int(pick * len(ways))])
    return chosen


def picture_batches(model: Any, pictures: Pictures, config: TrainConfig) -> BatchSource:
    """Batches of the pictures as they are, on the model's device; with several processes, the rows of this one.

    model: makes a batch by `model.batch(pixels, captions)`.
    ValueError, when a batch is made, if it cannot be divided equally among the processes.
    """
    trained, _ = split(pictures, config)

    def next_batch(images_seen: int) -> Any:
        rows = rows_at(trained, config, images_seen)
        captions = captions_at([pictures.captions[row] for row in rows], config, images_seen)
        mine = process_group().rows(len(rows))
        pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows[mine]]))
        return model.batch(pixels, captions[mine])

    return BatchSource(next_batch)


def rng_at(config: TrainConfig, images_seen: int, device: torch.device) -> torch.Generator:
    """The generator of the step after `images_seen` pictures."""
    return torch.Generator(device).manual_seed(derive_seed(config.seed, images_seen, NOISE))
