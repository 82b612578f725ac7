"""Transparent icons in two styles of one family, narrow enough for two CPU cores.

DATA: a folder with fluent-3d.tar and fluent-flat.tar (webdataset shards, json fields name, tags, phrase, group).
"""

from collections.abc import Mapping

from unstir.data.entry import Entry
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.recipes.icon_captions import icon_captions
from unstir.recipes.icons import CONCEPTS
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

STYLES = ("fluent-3d", "fluent-flat")
STYLE_WORDS = ("fluent 3d", "fluent flat")
GROUPS = ("Food & Drink", "Animals & Nature", "Travel & Places", "Objects", "Activities")


def wanted(meta: Mapping[str, object]) -> bool:
    """Things, animals, food and places, and the hearts; no people, flags, signs, faces, nor the 24 clock faces."""
    name = str(meta.get("name"))
    clock = name.endswith(("o’clock", "-thirty"))
    return meta.get("style") in STYLES and (meta.get("group") in GROUPS or name.endswith(" heart")) and not clock


def _captions(entry: Entry) -> tuple[str, ...]:
    return icon_captions(entry.caption, entry.meta)


def icons_narrow() -> Recipe:
    """32 pixels, where a step costs less than half of one at 48.

    Reached: 46 of the 48 pictures of CONCEPTS in both styles can be named, by one pair of eyes; loss 0.039; 69 minutes
    on one core and 15 on two (2026-11-20, docs/log.md).
    """
    return Recipe(
        model=DiffusionConfig(
            UNetConfig(32, 4, patch=2, widths=(64, 128, 256), blocks=(1, 1, 2)), TextConfig(2048), sigma_data=0.6
        ),
        train=TrainConfig(
            images=192_000,
            batch_size=64,
            warmup=6_400,
            cooldown=0.2,
            log_every=2_048,
            sample_every=64_000,
            save_every=12_800,
        ),
        prompts=tuple(f"{concept}, {style}" for style in STYLE_WORDS for concept in CONCEPTS),
        settings=DiffusionSettings(steps=24, guidance_scale=2.0),
        wanted=wanted,
        captioner=_captions,
    )
