"""Which pictures and words come next: a pure function of the seed and the training clock."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from unstir.data.order import order
from unstir.data.pictures import Pictures
from unstir.diffusion.noise import derive_seed
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.pixels import to_model
from unstir.models.process_group import process_group
from unstir.train.config import TrainConfig

ORDER, CAPTION, NOISE, VALIDATION = range(4)
"""What a seed is mixed with, so that numbers drawn for different purposes have nothing in common."""

Rows = npt.NDArray[np.int64]


@lru_cache(maxsize=4)
def split(count: int, config: TrainConfig) -> tuple[Rows, Rows]:
    """Rows of `count` pictures to train on, and those held back for validation, each in rising order.

    ValueError where nothing would be left to train on.
    """
    if config.validation >= count:
        raise ValueError(f"{config.validation} of {count} pictures cannot be held back: none would be left to learn")
    shuffled = order(count, derive_seed(config.seed, VALIDATION), 0, count)
    trained, held = np.sort(shuffled[config.validation :]), np.sort(shuffled[: config.validation])
    for rows in (trained, held):
        rows.setflags(write=False)  # they are shared by the cache
    return trained, held


def rows_at(count: int, config: TrainConfig, images_seen: int) -> Rows:
    """The rows of the batch that follows after `images_seen` pictures, for all processes together."""
    trained, _ = split(count, config)
    return trained[order(len(trained), derive_seed(config.seed, ORDER), images_seen, config.batch_size)]


def captions_at(alternatives: Sequence[Sequence[str]], config: TrainConfig, images_seen: int) -> list[str]:
    """One caption for each picture of the batch; "" for the share that is trained without words."""
    rng = np.random.Generator(np.random.Philox(key=derive_seed(config.seed, images_seen, CAPTION)))
    chosen = []
    for ways in alternatives:
        drop, pick = rng.random(2)
        chosen.append("" if drop < config.caption_dropout else ways[int(pick * len(ways))])
    return chosen


def batch_at(pictures: Pictures, model: Diffusion, config: TrainConfig, images_seen: int) -> Batch:
    """The batch that follows after `images_seen` pictures, on the model's device; this process's rows of it where
    several share it. ValueError where they do not share equally.
    """
    rows = rows_at(len(pictures), config, images_seen)
    captions = captions_at([pictures.captions[row] for row in rows], config, images_seen)
    mine = process_group().rows(len(rows))
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows[mine]]))
    return Batch(to_model(pixels.to(model.device)), model.tokenize(captions[mine]))


def batches(pictures: Pictures, model: Diffusion, config: TrainConfig) -> Callable[[int], Batch]:
    """`batch_at` as a function of the training clock alone."""
    return lambda images_seen: batch_at(pictures, model, config, images_seen)


def rng_at(config: TrainConfig, images_seen: int, device: torch.device) -> torch.Generator:
    """The random numbers of the step that begins after `images_seen` pictures."""
    return torch.Generator(device).manual_seed(derive_seed(config.seed, images_seen, NOISE))
