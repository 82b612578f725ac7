"""The automatic recipe of a diffusion model, chosen from the data, the machine and the budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch

from unstir.data.pictures import Pictures
from unstir.models.diffusion import DiffusionConfig
from unstir.models.pixels import to_model
from unstir.models.process_group import process_group
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.train.config import TrainConfig
from unstir.train.kinds import SizeName
from unstir.train.recipe import Recipe

VOCABULARY, LENGTH = 2048, 32
"""The largest number of tokens to learn from the captions, and the smallest context."""


@dataclass(frozen=True)
class NetworkSize:
    """One size of network.

    widths: channels of the U-Net, fine to coarse.
    text_width, text_depth: of the text encoder.
    batch_size, adamw_lr: for training.
    """

    widths: tuple[int, ...]
    text_width: int
    text_depth: int
    batch_size: int
    adamw_lr: float


SIZES: dict[SizeName, NetworkSize] = {
    "s": NetworkSize((32, 64, 128), 128, 1, 32, 2e-3),
    "m": NetworkSize((64, 128, 256), 256, 2, 64, 1e-3),
    "l": NetworkSize((128, 256, 512), 256, 2, 64, 1e-3),
}
"""About 3, 13 and 42 million parameters. U-Nets, because one beat a transformer of equal cost (docs/log.md)."""


def picture_size(suggested: int, budget: float, on_gpu: bool) -> int:
    """The side in pixels to train at.

    suggested: for the data.
    budget: seconds; it limits the side.
    """
    hours = budget / 3600
    steps = ((1, 64), (math.inf, 128)) if on_gpu else ((0.5, 32), (4, 48), (math.inf, 64))
    most = next(side for below, side in steps if hours < below)
    return max(32, min(suggested, most))


def choose_size(size: SizeName | None, budget: float, on_gpu: bool) -> SizeName:
    """The size of the network.

    size: the one asked for, or None.
    budget: seconds; it decides where no size is asked for.
    """
    if size is not None:
        return size
    if on_gpu:
        return "m" if budget < 1800 else "l"
    return "s" if budget < 3600 else "m"


def network(side: int, channels: int, size: SizeName) -> UNetConfig:
    """A U-Net whose finest scale is 16 to 32 positions wide, whatever the size of the pictures."""
    return UNetConfig(
        side,
        channels,
        patch=2 if side <= 64 else 4,
        widths=SIZES[size].widths,
        blocks=(1, 1, 2),
        words=SIZES[size].text_width,
    )


def recipe_for(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a diffusion model, without its number of pictures."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    chosen = SIZES[size]
    text = TextConfig(VOCABULARY, LENGTH, chosen.text_width, chosen.text_depth)
    return Recipe(
        model=DiffusionConfig(network(side, channels, size), text, sigma_data=data_std(pictures)),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(chosen.batch_size, pictures),
            adamw_lr=chosen.adamw_lr,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
    )


def fine_tuning_config(pictures: Pictures) -> TrainConfig:
    """The training configuration for fine-tuning: lower learning rates; without the number of pictures."""
    return TrainConfig(
        images=1,
        batch_size=batch_size(64, pictures),
        muon_lr=5e-3,
        adamw_lr=3e-4,
        **validation_settings(pictures),
    )


def batch_size(largest: int, pictures: Pictures) -> int:
    """The batch size of all processes together, divisible by their number.

    A quarter of the pictures if there are few, 16 at least.
    largest: for one process.
    """
    processes = process_group().size
    size = min(largest * processes, max(16, len(pictures) // 4))
    return max(1, size // processes) * processes


class ValidationSettings(TypedDict):
    """Fields of TrainConfig for validation."""

    validation: int
    best: str


def validation_settings(pictures: Pictures, best: str = "least validation") -> ValidationSettings:
    """Hold back one picture in twenty for validation, 64 at most; none of fewer than 400.

    best: which weights to keep as the best, as in TrainConfig.
    """
    held = min(64, len(pictures) // 20) if len(pictures) >= 400 else 0
    return {"validation": held, "best": best if held else ""}


def sample_prompts(pictures: Pictures, count: int = 16) -> Sequence[str]:
    """Captions for the sample grid, all different, evenly spaced over the set."""
    distinct = list(dict.fromkeys(ways[0] for ways in pictures.captions))
    stride = max(1, len(distinct) // count)
    return distinct[::stride][:count]


def data_std(pictures: Pictures) -> float:
    """Standard deviation of the pixels in [-1, 1], estimated from at most 512 pictures, rounded to two digits."""
    stride = max(1, len(pictures) // 512)
    sample = to_model(torch.from_numpy(pictures.pixels[::stride][:512].copy()))
    return max(0.05, round(sample.std().item(), 2))


def evaluations(seconds: float, evaluation: float) -> int:
    """The number of evaluations after the first one, 1 to 10.

    All except the first and the last together take at most a tenth of the time.
    seconds: the time left.
    evaluation: seconds for one evaluation.
    """
    return min(10, 1 + int(0.1 * max(seconds, 0.0) / max(evaluation, 1e-3)))


def with_images(config: TrainConfig, images: int, count: int = 10) -> TrainConfig:
    """The configuration for a run of so many pictures: warm-up, `count` evaluations, about thirty checkpoints."""
    images = max(config.batch_size, images // config.batch_size * config.batch_size)
    return replace(
        config,
        images=images,
        warmup=min(6_400, images // 10),
        sample_every=max(config.batch_size, math.ceil(images / count)),
        save_every=max(config.batch_size, images // 30),
        log_every=max(config.batch_size, images // 200),
    )
