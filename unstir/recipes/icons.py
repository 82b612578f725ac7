"""The default model: prompts to transparent icons in sixteen styles. For one GPU.

DATA: a folder of webdataset shards, one for each style, as `tools/icons/convert.py` writes them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unstir.data.entry import Entry
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.recipes.icons_captions import icon_captions
from unstir.recipes.icons_data import Meta, annotated, split_cells
from unstir.scenes.source import SceneSource
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

STYLE_WORDS = (
    "fluent 3d", "fluent gradient", "fluent flat", "fluent black and white", "noto", "blob", "twemoji", "firefox",
    "emojitwo", "outline", "phosphor thin line icon", "phosphor bold line icon", "phosphor solid icon",
    "phosphor duotone icon", "lucide line icon", "material icon",
)  # fmt: skip

# The concepts of the README's sheet, chosen before the first training run.
CONCEPTS = (
    "red apple", "banana", "pizza", "hamburger", "birthday cake", "hot beverage", "cat face", "dog face",
    "fish", "butterfly", "sunflower", "evergreen tree", "red heart", "star", "sun", "crescent moon",
    "umbrella", "house", "automobile", "rocket", "airplane", "key", "light bulb", "guitar",
)  # fmt: skip


def training_captions(entry: Entry) -> tuple[str, ...]:
    """A `captioner`."""
    return icon_captions(entry.caption, entry.meta)


def trained_on(metas: Sequence[Meta]) -> npt.NDArray[np.int64]:
    """The rows of all drawings except the held-out cells (`icons_data`)."""
    return split_cells(metas)[0]


def icons() -> Recipe:
    """25.5 M parameters, 64 pixels in 64 patches: four times as fast as 128 pixels in 256 patches.

    The shipped model was trained on 2.96 M pictures, after 0.7 M at 128 pixels, in eight minutes on one H200
    (2026-11-20, docs/log.md).
    """
    return Recipe(
        model=DiffusionConfig(
            DiTConfig(64, 4, patch=8, width=384, depth=9, heads=6, bottleneck=128),
            TextConfig(vocabulary=4096, length=40, depth=3),
            sigma_data=0.6,
            layout=LayoutConfig(),
        ),
        train=TrainConfig(
            images=6_000_128,
            batch_size=1024,
            weight_decay=0.01,
            warmup=102_400,
            cooldown=0.5,
            compile=True,
            log_every=102_400,
            sample_every=1_024_000,
            save_every=512_000,
        ),
        prompts=tuple(f"{concept}, {style}" for concept in CONCEPTS[:3] for style in STYLE_WORDS),
        settings=DiffusionSettings(steps=24, guidance_scale=3.0),
        source=SceneSource(),
        annotate=annotated,
        keep=trained_on,
        captioner=training_captions,
    )
