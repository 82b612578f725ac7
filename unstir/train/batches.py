"""Which pictures and captions come next: a pure function of the seed and the training clock."""

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
    """What a model is trained on.

    next_batch: a pure function of the training clock.
    release: to be called at the end.
    """

    next_batch: Callable[[int], Any]
    release: Callable[[], None] = lambda: None


def split(pictures: Pictures, config: TrainConfig) -> tuple[Rows, Rows]:
    """Rows to train on, and those held back for validation, each in rising order.

    Held back by content, rows of the same pixels go together: `config.validation` rows, or a few more.
    ValueError where nothing would be left to train on.
    """
    count = len(pictures)
    if config.validation == 0:
        return _split_rows(count, 0, config.seed)
    if config.validation >= count:
        raise ValueError(f"{config.validation} of {count} pictures cannot be held back: none would be left to learn")
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
        raise ValueError(f"{config.validation} of {count} pictures cannot be held back: the rest shows the same")
    return np.flatnonzero(~held), np.flatnonzero(held)


@lru_cache(maxsize=4)
def _split_rows(count: int, validation: int, seed: int) -> tuple[Rows, Rows]:
    shuffled = order(count, derive_seed(seed, VALIDATION), 0, count)
    trained, held = np.sort(shuffled[validation:]), np.sort(shuffled[:validation])
    for rows in (trained, held):
        rows.setflags(write=False)  # they are shared by the cache
    return trained, held


def rows_at(trained: Rows, config: TrainConfig, images_seen: int) -> Rows:
    """The rows of the batch that follows after `images_seen` pictures, for all processes together.

    trained: rows to train on, of `split`.
    """
    return trained[order(len(trained), derive_seed(config.seed, ORDER), images_seen, config.batch_size)]


def captions_at(alternatives: Sequence[Sequence[str]], config: TrainConfig, images_seen: int) -> list[str]:
    """One caption for each picture of the batch; "" for the share that is trained without words."""
    rng = keyed_generator(derive_seed(config.seed, images_seen, CAPTION))
    chosen = []
    for ways in alternatives:
        drop, pick = rng.random(2)
        chosen.append("" if drop < config.caption_dropout else ways[int(pick * len(ways))])
    return chosen


def picture_batches(model: Any, pictures: Pictures, config: TrainConfig) -> BatchSource:
    """The pictures as they are, on the model's device: this process's rows of each batch where several share it.

    model: makes a batch by `model.batch(pixels, captions)`.
    ValueError, when a batch is asked for, where its rows do not share equally.
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
    """The random numbers of the step that begins after `images_seen` pictures."""
    return torch.Generator(device).manual_seed(derive_seed(config.seed, images_seen, NOISE))
