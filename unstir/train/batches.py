"""Which pictures and words come next: a pure function of the seed and the training clock."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unstir.data.order import order
from unstir.data.pictures import Pictures
from unstir.diffusion.noise import mixed
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.pixels import to_model
from unstir.train.config import TrainConfig

ORDER, CAPTION, NOISE = range(3)
"""What a seed is mixed with, so that numbers drawn for different purposes have nothing in common."""


def captions_at(alternatives: Sequence[Sequence[str]], config: TrainConfig, images_seen: int) -> list[str]:
    """One caption for each picture of the batch; "" for the share that is trained without words."""
    rng = np.random.Generator(np.random.Philox(key=mixed(config.seed, images_seen, CAPTION)))
    chosen = []
    for ways in alternatives:
        drop, pick = rng.random(2)
        chosen.append("" if drop < config.caption_dropout else ways[int(pick * len(ways))])
    return chosen


def batch_at(pictures: Pictures, model: Diffusion, config: TrainConfig, images_seen: int) -> Batch:
    """The batch that follows after `images_seen` pictures, on the model's device."""
    rows = order(len(pictures), mixed(config.seed, ORDER), images_seen, config.batch_size)
    captions = captions_at([pictures.captions[row] for row in rows], config, images_seen)
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows]))
    return Batch(to_model(pixels.to(model.device)), model.tokenize(captions))


def batches(pictures: Pictures, model: Diffusion, config: TrainConfig) -> Callable[[int], Batch]:
    """`batch_at` as a function of the training clock alone."""
    return lambda images_seen: batch_at(pictures, model, config, images_seen)


def rng_at(config: TrainConfig, images_seen: int, device: torch.device) -> torch.Generator:
    """The random numbers of the step that begins after `images_seen` pictures."""
    return torch.Generator(device).manual_seed(mixed(config.seed, images_seen, NOISE))
