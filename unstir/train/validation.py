"""Validation metrics on held-out pictures. They are deterministic: the same weights give the same values."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.data.pictures import Pictures
from unstir.diffusion.noise import TRAINING, batch_normal
from unstir.evaluate.metrics.retrieval import recall_at_k
from unstir.models.clip import Clip
from unstir.models.diffusion import Diffusion
from unstir.models.pixels import to_model
from unstir.train.clip_batches import resize_to

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Times at which the loss of a diffusion model is measured."""


@torch.no_grad()
def mean_losses(model: Any, held: Pictures, batch_size: int) -> dict[str, float]:
    """The mean loss over held-out pictures, by the name `validation`; with several parts also that of each part.

    The random numbers depend only on the index of the batch.
    Returns {} where nothing is held out.
    """
    sums: dict[str, float] = {}
    for number, (rows, pixels) in enumerate(_batches(held, batch_size)):
        batch = model.batch(pixels, [held.captions[row][0] for row in rows])
        rng = torch.Generator(model.device).manual_seed(number)
        with torch.enable_grad():  # a loss may hold a gradient, as a GAN's penalty does
            for part, loss in model.losses(batch, rng):
                sums[part] = sums.get(part, 0.0) + loss.item() * len(rows)
    means = {part: total / len(held) for part, total in sums.items()}
    if not means:
        return {}
    parts = {f"validation of {part}": mean for part, mean in means.items()} if len(means) > 1 else {}
    return {"validation": sum(means.values())} | parts


@torch.no_grad()
def diffusion_losses(model: Diffusion, held: Pictures, batch_size: int) -> dict[str, float]:
    """The mean loss of a diffusion model over LEVELS, by the name `validation`, and the loss at each level.

    Each picture is read with its plain caption. The noise of picture i at level k depends on i and k alone.
    Returns {} where nothing is held out.
    """
    if not len(held):
        return {}
    sums = np.zeros(len(LEVELS))
    for rows, pixels in _batches(held, batch_size):
        batch = model.batch(pixels, [held.captions[row][0] for row in rows])
        for k, level in enumerate(LEVELS):
            eps = batch_normal(batch.x0.shape[1:], rows, k, TRAINING).to(model.device)
            t = torch.full((len(rows),), level, device=model.device)
            sums[k] += model.loss_at(batch, t, eps).sum().item()
    means = sums / len(held)
    return {"validation": float(means.mean())} | {
        f"validation at {level}": float(mean) for level, mean in zip(LEVELS, means, strict=True)
    }


@torch.no_grad()
def retrieval(model: Clip, held: Pictures, batch_size: int) -> dict[str, float]:
    """Retrieval among the held-out pictures and their plain captions.

    Returns `image-to-text R@1` and `text-to-image R@1`: the fraction of pictures whose most similar caption is true of
    them, and of captions whose most similar picture they are true of. {} where nothing is held out.
    A caption is true of a picture if it is one of its captions. Of equal similarities a wrong one counts as higher.
    """
    if not len(held):
        return {}
    pictures, captions, words = embeddings(model, held, batch_size)
    relevant = [[caption in ways for caption in captions] for ways in held.captions]
    found = recall_at_k(pictures.numpy(), words.numpy(), relevant)
    return {
        "image-to-text R@1": found.image_to_text["R@1"].value,
        "text-to-image R@1": found.text_to_image["R@1"].value,
    }


@torch.no_grad()
def embeddings(model: Clip, held: Pictures, batch_size: int) -> tuple[Tensor, list[str], Tensor]:
    """The vectors of pictures and of their plain captions.

    Returns the picture vectors (N, width), the distinct captions, and their vectors (captions, width).
    """
    pictures = [
        model.embed_pictures(resize_to(to_model(pixels.to(model.device)), model.shape))
        for _, pixels in _batches(held, batch_size)
    ]
    captions = list(dict.fromkeys(ways[0] for ways in held.captions))
    starts = range(0, len(captions), batch_size)
    words = [model.embed_ids(model.tokenize(captions[start : start + batch_size])) for start in starts]
    return torch.cat(pictures).cpu(), captions, torch.cat(words).cpu()


def _batches(held: Pictures, batch_size: int) -> Iterator[tuple[range, Tensor]]:
    for start in range(0, len(held), batch_size):
        rows = range(start, min(start + batch_size, len(held)))
        yield rows, torch.from_numpy(np.ascontiguousarray(held.pixels[rows.start : rows.stop]))
