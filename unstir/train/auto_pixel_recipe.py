"""The automatic recipes of the autoregressive models of pixels: PixelCNN and PixelRNN."""

from typing import NamedTuple

import torch

from unstir.data.pictures import Pictures
from unstir.models.levels import STORED, evenly_spaced_levels, stored_values
from unstir.models.pixel_model import PixelModelConfig
from unstir.models.pixelcnn import PixelCnnConfig
from unstir.models.pixelrnn import PixelRnnConfig
from unstir.nn.text import TextConfig
from unstir.settings import PixelSettings
from unstir.train.auto_recipe import SIZES, VOCABULARY, batch_size, sample_prompts, validation_settings
from unstir.train.config import TrainConfig
from unstir.train.kinds import SizeName
from unstir.train.recipe import Recipe

LENGTH = 16
"""The smallest context of the text encoder; longer captions extend it."""

WIDTHS: dict[SizeName, int] = {"s": 64, "m": 96, "l": 160}
BLOCKS: dict[SizeName, int] = {"s": 2, "m": 3, "l": 5}
"""Of a PixelCNN. Source for "l": Salimans et al. 2017, the published code."""

HIDDEN: dict[SizeName, int] = {"s": 48, "m": 96, "l": 128}
LAYERS: dict[SizeName, int] = {"s": 4, "m": 7, "l": 12}
"""Of a PixelRNN. Source for "l": van den Oord et al. 2016, table 1 (CIFAR-10)."""

GUIDANCE = 1.5
"""Of digits, after 40 seconds of training, 1.0 drew 85 % legibly and 1.5 97 %; recall fell from 0.95 to 0.93."""

CNN_DROPOUT, RNN_DROPOUT = 0.25, 0.1

CHUNK = 1024
"""Pictures that are read at once."""


class PixelValues(NamedTuple):
    """What values the pictures have.

    levels: the smallest number of evenly spaced levels that has them all.
    grey: there are three equal channels.
    """

    levels: int
    grey: bool


def pixel_values(pictures: Pictures) -> PixelValues:
    """Count the levels of all pictures, held-out ones included."""
    counts = torch.zeros(STORED, dtype=torch.int64)
    grey = pictures.pixels.shape[3] == 3
    for start in range(0, len(pictures), CHUNK):
        stored = stored_values(torch.from_numpy(pictures.pixels[start : start + CHUNK].copy()))
        counts += torch.bincount(stored.flatten(), minlength=STORED)
        grey = grey and bool((stored == stored[:, :1]).all())
    return PixelValues(evenly_spaced_levels(counts), grey)


def pixelcnn_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a PixelCNN++, whose coarsest scale is 8 to 16 pixels wide."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    width, blocks = WIDTHS[size], BLOCKS[size]
    scales = 1
    while scales < 3 and side % 2**scales == 0 and side >> scales >= 8 and side > 16:
        scales += 1
    values = pixel_values(pictures)
    model = PixelCnnConfig(
        side,
        channels,
        _text(size),
        levels=values.levels,
        grey=values.grey,
        dropout=CNN_DROPOUT,
        width=width,
        scales=scales,
        blocks=blocks,
    )
    return _recipe(model, pictures)


def pixelrnn_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a PixelRNN: Diagonal BiLSTMs for small pictures, Row LSTMs, which take half as many steps, else."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    values = pixel_values(pictures)
    model = PixelRnnConfig(
        side,
        channels,
        _text(size),
        levels=values.levels,
        grey=values.grey,
        dropout=RNN_DROPOUT,
        lstm="diagonal" if side <= 16 else "row",
        hidden=HIDDEN[size],
        layers=LAYERS[size],
    )
    return _recipe(model, pictures)


def _text(size: SizeName) -> TextConfig:
    return TextConfig(VOCABULARY, LENGTH, SIZES[size].text_width // 2, SIZES[size].text_depth)


def _recipe(model: PixelModelConfig, pictures: Pictures) -> Recipe:
    return Recipe(
        model=model,
        train=TrainConfig(
            images=1,
            batch_size=batch_size(64, pictures),
            adamw_lr=4e-3,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        settings=PixelSettings(guidance_scale=GUIDANCE),
    )
