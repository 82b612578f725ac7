"""Batches for a diffusion model: pictures as they are, or scenes composed of them."""

from unstir.data.pictures import Pictures
from unstir.models.diffusion import Diffusion
from unstir.scenes.source import SceneSource
from unstir.train.batches import BatchSource, picture_batches, split
from unstir.train.config import TrainConfig


def diffusion_batches(
    model: Diffusion, pictures: Pictures, config: TrainConfig, source: SceneSource | None
) -> BatchSource:
    """Batches for a diffusion model.

    source: composes scenes; None: pictures as they are.
    ValueError for pictures that scenes cannot be composed of.
    """
    if source is None:
        return picture_batches(model, pictures, config)
    trained = pictures.take(split(pictures, config)[0]) if config.validation else pictures
    scenes = source.batches(model, trained, config.batch_size, config.seed, config.caption_dropout)
    return BatchSource(scenes, scenes.close)
