"""The default model: transparent icons in two styles of one family, narrow enough for two CPU cores.

DATA: a folder with fluent-3d.tar and fluent-flat.tar (webdataset shards, json fields name, tags, phrase, group).
"""

from collections.abc import Mapping

from unstir.data.entry import Entry
from unstir.models.diffusion import Sampling
from unstir.nn.dit import DiTConfig
from unstir.nn.unet import UNetConfig
from unstir.text.captions import icon_captions
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

STYLES = ("fluent-3d", "fluent-flat")
LEFT_OUT = ("Flags", "People & Body")
SIZE = 48

# Written down before the first training run: what the README's sheet shows.
CONCEPTS = (
    "red apple", "banana", "pizza", "hamburger", "birthday cake", "hot beverage", "cat face", "dog face",
    "fish", "butterfly", "sunflower", "evergreen tree", "red heart", "star", "sun", "crescent moon",
    "umbrella", "house", "automobile", "rocket", "airplane", "key", "light bulb", "guitar",
)  # fmt: skip


def wanted(meta: Mapping[str, object]) -> bool:
    return meta.get("style") in STYLES and meta.get("group") not in LEFT_OUT


def captions(entry: Entry) -> tuple[str, ...]:
    return icon_captions(entry.caption, entry.meta)


def icons(network: str = "dit", images: int = 600_000) -> Recipe:
    """network: "dit" or "unet", of about equal cost (the race is in docs/log.md)."""
    net: DiTConfig | UNetConfig
    if network == "dit":
        net = DiTConfig(SIZE, 4, patch=6, width=256, depth=8, heads=4, bottleneck=96)
    else:
        net = UNetConfig(SIZE, 4, patch=2, widths=(64, 128, 256), blocks=(1, 1, 2))
    return Recipe(
        network=net,
        train=TrainConfig(
            images=images, batch_size=64, warmup=6_400, cooldown=0.25, sample_every=25_600, compile=network == "dit"
        ),
        prompts=tuple(f"{concept}, fluent {look}" for concept in CONCEPTS for look in ("3d", "flat")),
        sampling=Sampling(steps=24, guidance_scale=3.0),
        sigma_data=0.6,
        wanted=wanted,
        captioner=captions,
    )
