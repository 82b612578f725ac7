"""Measures on pictures that were held back, with the averaged weights: the same numbers whoever asks, and when."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.data.pictures import Pictures
from unstir.diffusion.noise import TRAINING, batch_normal
from unstir.models.clip import Clip
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.generative import Trainable
from unstir.models.pixels import to_model
from unstir.train.batches import split
from unstir.train.clip_batches import resize_to
from unstir.train.config import TrainConfig

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Times at which the loss of a diffusion model is measured."""


def held_back(pictures: Pictures, config: TrainConfig) -> Pictures:
    """The pictures that the run with this configuration is not trained on."""
    return pictures.take(split(len(pictures), config)[1])


@torch.no_grad()
def validation(model: Trainable, held: Pictures, batch_size: int) -> dict[str, float]:
    """What is measured of a model as it stands, on pictures that were held back; nothing where there are none.

    Of a model that draws: validation, the mean loss under the plain captions at LEVELS, and that of each level.
    Of a CLIP: named and found, see `search`.
    """
    if not len(held):
        return {}
    match model:
        case Diffusion():
            return _losses(model, held, batch_size)
        case Clip():
            return search(*vectors(model, held, batch_size), held)
        case _:
            return {}


def _losses(model: Diffusion, held: Pictures, batch_size: int) -> dict[str, float]:
    """Noise of picture i at level k is a function of i and k alone."""
    sums = np.zeros(len(LEVELS))
    for rows, x0 in _batches(held, model.device, batch_size):
        batch = Batch(x0, model.tokenize([held.captions[row][0] for row in rows]))
        for k, level in enumerate(LEVELS):
            eps = batch_normal(x0.shape[1:], rows, k, TRAINING).to(model.device)
            sums[k] += model.loss_at(batch, torch.full((len(rows),), level, device=model.device), eps).sum().item()
    means = sums / len(held)
    return {"validation": float(means.mean())} | {
        f"validation at {level}": float(mean) for level, mean in zip(LEVELS, means, strict=True)
    }


def vectors(model: Clip, held: Pictures, batch_size: int) -> tuple[Tensor, list[str], Tensor]:
    """Of a CLIP: the pictures' vectors (N, width), their plain captions, each once, and those captions' vectors."""
    pictures = [model.embed_pictures(resize_to(x0, model.shape)) for _, x0 in _batches(held, model.device, batch_size)]
    captions = list(dict.fromkeys(ways[0] for ways in held.captions))
    starts = range(0, len(captions), batch_size)
    words = [model.embed_ids(model.tokenize(captions[start : start + batch_size])) for start in starts]
    return torch.cat(pictures).cpu(), captions, torch.cat(words).cpu()


def search(pictures: Tensor, captions: list[str], words: Tensor, held: Pictures) -> dict[str, float]:
    """named: of the pictures, the share whose nearest caption is true of it. found: of the captions, the share whose
    nearest picture it is true of. A caption is true of a picture that has it among its alternatives.
    """
    cosines = pictures @ words.T
    nearest_caption, nearest_picture = cosines.argmax(1).tolist(), cosines.argmax(0).tolist()
    named = [captions[caption] in ways for caption, ways in zip(nearest_caption, held.captions, strict=True)]
    found = [caption in held.captions[row] for caption, row in zip(captions, nearest_picture, strict=True)]
    return {"named": float(np.mean(named)), "found": float(np.mean(found))}


def _batches(held: Pictures, device: Any, batch_size: int) -> Iterator[tuple[range, Tensor]]:
    for start in range(0, len(held), batch_size):
        rows = range(start, min(start + batch_size, len(held)))
        yield rows, to_model(torch.from_numpy(np.ascontiguousarray(held.pixels[rows.start : rows.stop])).to(device))
