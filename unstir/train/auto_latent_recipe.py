"""The automatic recipes of an autoencoder and of a latent diffusion model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unstir.data.pictures import Pictures
from unstir.models.autoencoder import Autoencoder, AutoencoderConfig, KlConfig
from unstir.models.autoencoder_loss import AutoencoderLossConfig
from unstir.models.latent_diffusion import LatentConfig
from unstir.models.quantise import CodebookConfig, FsqConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import DiffusionSettings
from unstir.train.auto_recipe import (
    LENGTH,
    SIZES,
    VOCABULARY,
    batch_size,
    sample_prompts,
    validation_settings,
)
from unstir.train.autoencoder_training import options
from unstir.train.config import TrainConfig
from unstir.train.kinds import SizeName
from unstir.train.recipe import Recipe

AUTOENCODER_FRACTION = 0.35
"""The fraction of the budget for the autoencoder of a latent diffusion model."""

LATENT_GUIDANCE = 2.0
"""Of digits, 3.0 drew 46 % of the ways in which they are written, 2.0 66 %, all of them legible (2026-11-21)."""

WIDTHS: dict[SizeName, int] = {"s": 32, "m": 64, "l": 128}
"""Of the finest scale of an autoencoder."""


def factor(side: int) -> int:
    """Pixels along the side of a position of the latent: the latent has 4 to 32 positions a side."""
    return 2 if side < 32 else 4 if side <= 128 else 8


def autoencoder_network(side: int, channels: int, size: SizeName, latent: int = 4) -> ConvNetConfig:
    """Encoder and decoder of this size of network, whose first convolution sees patches of 2 pixels.

    latent: channels of the latent.
    """
    scales = {2: 1, 4: 2, 8: 3}[factor(side)]
    widths = tuple(WIDTHS[size] * 2 ** min(i + (side < 32), 2) for i in range(scales))
    return ConvNetConfig(channels, latent, patch=2, widths=widths, blocks=2 if side < 64 else 1)


def autoencoder_recipe(
    pictures: Pictures,
    size: SizeName,
    bottleneck: KlConfig | FsqConfig | CodebookConfig | None = None,
    latent: int = 4,
) -> Recipe:
    """A recipe for an autoencoder, without its number of pictures.

    bottleneck: None: a Gaussian one.
    latent: channels of the latent.
    """
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    network = autoencoder_network(side, channels, size, latent)
    return Recipe(
        model=AutoencoderConfig(side, network, bottleneck or KlConfig()),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(32, pictures),
            muon_lr=0.01,
            adamw_lr=1e-3,
            caption_dropout=0.0,
            **validation_settings(pictures),
        ),
        options=options(AutoencoderLossConfig()),
    )


def choose_latent_size(size: SizeName | None, budget: float, on_gpu: bool) -> SizeName:
    """The size of the networks. size: the one asked for, or None: what the budget (seconds) can train."""
    if size is not None:
        return size
    if on_gpu:
        return "m" if budget < 1800 else "l"
    return "s" if budget < 7200 else "m"


def latent_network(channels: int, side: int, size: SizeName) -> UNetConfig:
    """A network for latents: a U-Net of two scales or more, without patches.

    channels, side: of the latents.
    """
    widths = SIZES[size].widths
    scales = 1 if side < 4 else 2 if side < 16 else 3
    return UNetConfig(
        side,
        channels,
        patch=1,
        widths=widths[-scales:] if scales < 3 else widths,
        blocks=(2,) * scales,
        attend=(False, True, True)[-scales:] if scales < 3 else (False, True, True),
        words=SIZES[size].text_width,
    )


def latent_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a latent diffusion model and its autoencoder, without their numbers of pictures."""
    first = autoencoder_recipe(pictures, size)
    autoencoder: AutoencoderConfig = first.model
    channels, side, _ = autoencoder.latent_shape
    chosen = SIZES[size]
    return Recipe(
        model=LatentConfig(
            network=latent_network(channels, side, size),
            text=TextConfig(VOCABULARY, LENGTH, chosen.text_width, chosen.text_depth),
            autoencoder=autoencoder,
            t_mean=0.0,
        ),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(64, pictures),
            adamw_lr=chosen.adamw_lr,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        settings=DiffusionSettings(guidance_scale=LATENT_GUIDANCE),
        stages={"autoencoder": first},
        fractions={"autoencoder": AUTOENCODER_FRACTION},
    )


def with_autoencoder(recipe: Recipe, models: Mapping[str, Any]) -> Recipe:
    """The recipe of a latent diffusion model for the autoencoder among the models."""
    autoencoder: Autoencoder = models["autoencoder"]
    config: LatentConfig = recipe.model
    return replace(recipe, model=config.with_autoencoder(autoencoder.config))
