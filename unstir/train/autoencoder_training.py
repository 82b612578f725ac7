"""Training an autoencoder: its beginning, its validation metrics and its preview."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.evaluate.metrics.reconstruction import psnr
from unstir.image.sheet import sheet
from unstir.models.autoencoder import reconstructions
from unstir.models.autoencoder_loss import AutoencoderLossConfig, AutoencoderTrainer
from unstir.models.description import build, dataclass_from
from unstir.models.perceptual import Perceptual
from unstir.models.pixels import on_white
from unstir.models.quantise import code_use
from unstir.train.kinds import Preview
from unstir.train.recipe import Recipe
from unstir.train.run_folder import PERCEPTUAL
from unstir.weights.model_file import load_clip, save_model

SHOWN = 16
"""Pictures in the preview."""


def begin_autoencoder(
    description: Mapping[str, Any], options: Mapping[str, Any], folder: Path, device: str
) -> AutoencoderTrainer:
    """An autoencoder and what trains it. UserError where its loss needs a CLIP and the run folder has none."""
    config = dataclass_from(AutoencoderLossConfig, options)
    perceptual = Perceptual(load_clip(folder / PERCEPTUAL, device).vision) if config.perceptual else None
    model: Any = build(description)
    return AutoencoderTrainer(model, config, perceptual)


PERCEPTUAL_WEIGHT = 0.1
"""Of the perceptual distance where a CLIP is given, relative to the mean absolute error."""


def with_perceptual(recipe: Recipe, models: Mapping[str, Any]) -> Recipe:  # noqa: ARG001 - a CLIP is all there is
    """The recipe of an autoencoder with a perceptual distance, unless it has one."""
    config = dataclass_from(AutoencoderLossConfig, recipe.options)
    return replace(recipe, options=options(replace(config, perceptual=config.perceptual or PERCEPTUAL_WEIGHT)))


def keep_perceptual(folder: Path, models: Mapping[str, Any]) -> None:
    """Write the CLIP of the perceptual distance to the run folder."""
    save_model(folder / PERCEPTUAL, models["clip"], dtype=torch.float32)


def options(config: AutoencoderLossConfig) -> dict[str, Any]:
    """A loss as the options of a recipe."""
    return asdict(config)


@torch.no_grad()
def reconstruction(trainer: AutoencoderTrainer, held: Pictures, batch_size: int) -> dict[str, float]:  # noqa: ARG001
    """How well held-out pictures are encoded and decoded.

    Returns `validation` (the distance of the loss), `PSNR` in dB over white, and with a quantised bottleneck
    `perplexity` and `codes used`; {} where nothing is held out.
    """
    if not len(held):
        return {}
    model = trainer.autoencoder
    pixels = torch.from_numpy(np.ascontiguousarray(held.pixels[:]))
    made = torch.from_numpy(np.concatenate(list(reconstructions(model, pixels))))
    values = {
        "validation": trainer.distance(trainer.batch(made, []).x0, trainer.batch(pixels, []).x0).item(),
        "PSNR": float(psnr(on_white(made.numpy()), on_white(pixels.numpy())).mean()),
    }
    if model.quantiser is not None:
        values |= code_use(model.codes(pixels), model.quantiser.config.codes)
    return values


def pairs(trainer: AutoencoderTrainer, preview: Preview) -> NDArray[np.uint8]:
    """A contact sheet of pictures, each with its reconstruction to the right."""
    pictures = preview.pictures
    rows = range(0, len(pictures), max(1, len(pictures) // SHOWN))[:SHOWN]
    pixels = np.ascontiguousarray(pictures.pixels[list(rows)])
    made = reconstructions(trainer.autoencoder, torch.from_numpy(pixels))
    shown = [picture for before, after in zip(pixels, made, strict=True) for picture in (before, after[0])]
    captions = [text for _ in rows for text in ("original", "decoded")]
    scale = max(1, 96 // pixels.shape[1])
    return sheet(shown, columns=8, captions=captions, scale=scale, background="checker")
