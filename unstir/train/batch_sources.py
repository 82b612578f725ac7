"""What a model of each kind is trained on: from packed pictures to a `next_batch`, and how to let go of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.models.clip import Clip
from unstir.models.consistency import Consistency
from unstir.models.diffusion import Diffusion
from unstir.models.process_group import process_group
from unstir.scenes.batches import BatchPlanner, SceneBatches, drawings_of
from unstir.train.batches import batches, split
from unstir.train.clip_batches import clip_batches
from unstir.train.config import TrainConfig

Model = Diffusion | Clip | Consistency

WORKERS = 8
"""Processes that plan scenes for the GPUs of one machine. A CPU that trains has none to spare."""


class BatchSource(NamedTuple):
    """next_batch: a pure function of the training clock.  release: to be called at the end."""

    next_batch: Callable[[int], Any]
    release: Callable[[], None] = lambda: None


def batch_source(model: Model, pictures: Pictures, config: TrainConfig) -> BatchSource:
    """What this model is trained on by this configuration, on its device. ValueError for scenes of what is opaque."""
    match model:
        case Consistency():
            return batch_source(model.student, pictures, config)
        case Clip():
            return BatchSource(clip_batches(pictures, model, config))
        case Diffusion() if config.scenes:
            scenes = scene_batches(model, pictures, config)
            return BatchSource(scenes, scenes.close)
        case Diffusion():
            return BatchSource(batches(pictures, model, config))


def scene_batches(model: Diffusion, pictures: Pictures, config: TrainConfig) -> SceneBatches:
    """Scenes of the drawings that are not held back, each as often in an epoch as its `weight` says (1 if it does not).

    ValueError for pictures without transparency, or without the metadata that scenes are told by.
    """
    if pictures.pixels.shape[3] != 4:
        raise ValueError("scenes are put together from transparent drawings, and these pictures have no transparency")
    trained = pictures.take(split(len(pictures), config)[0]) if config.validation else pictures
    try:
        drawings = drawings_of(trained)
    except KeyError as missing:
        raise ValueError(f"scenes are told by each picture's metadata, and one has no {missing}") from None
    weights = [int(str(meta.get("weight", 1))) for meta in trained.meta]
    index = np.repeat(np.arange(len(trained)), weights)
    planner = BatchPlanner(drawings, index, model.tokenizer, model.config.text.length, config)
    pixels = torch.from_numpy(np.array(trained.pixels)).to(model.device)
    workers = max(1, WORKERS // process_group().size) if model.device.type == "cuda" else 0
    return SceneBatches(pixels, planner, workers)
