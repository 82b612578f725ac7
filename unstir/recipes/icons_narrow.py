"""Transparent icons in two styles of one family: a subset small enough for two CPU cores.

DATA: a folder with fluent-3d.tar and fluent-flat.tar: webdataset shards with the JSON fields name, tags, phrase, group.
"""

from collections.abc import Mapping

from unstir.data.entry import Entry
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.recipes.icons import CONCEPTS
from unstir.recipes.icons_captions import icon_captions
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

STYLES = ("fluent-3d", "fluent-flat")
STYLE_WORDS = ("fluent 3d", "fluent flat")
GROUPS = ("Food & Drink", "Animals & Nature", "Travel & Places", "Objects", "Activities")


def wanted(meta: Mapping[str, object]) -> bool:
    """Objects, animals, food, places and hearts; no people, flags, symbols, faces, and none of the 24 clock faces."""
    name = str(meta.get("name"))
    clock = name.endswith(("o’clock", "-thirty"))
    return meta.get("style") in STYLES and (meta.get("group") in GROUPS or name.endswith(" heart")) and not clock


def _captions(entry: Entry) -> tuple[str, ...]:
    return icon_captions(entry.caption, entry.meta)


def icons_narrow() -> Recipe:
    """32 pixels: a step takes less than half the time of one at 48 pixels.

    Reached: one person could recognise 46 of the 48 pictures of CONCEPTS in both styles; loss 0.039; 69 minutes on one
    core and 15 on two (2026-11-20, docs/log.md).
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
