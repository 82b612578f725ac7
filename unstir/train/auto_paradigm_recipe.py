"""The automatic recipes of VAE, VQ-VAE, unCLIP, cascade, and of the model that predicts the previous step."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unstir.data.pictures import Pictures
from unstir.models.autoencoder import AutoencoderConfig
from unstir.models.cascade import CascadeConfig
from unstir.models.clip import ClipConfig
from unstir.models.code_model import CodeModelConfig, MaskedCodeModelConfig
from unstir.models.embedding_prior import PriorConfig
from unstir.models.previous_step import PreviousStepConfig
from unstir.models.quantise import FsqConfig
from unstir.models.unclip import UnclipConfig
from unstir.models.vae_ladder import VaeConfig
from unstir.nn.code_transformer import CodeTransformerConfig
from unstir.nn.embedding_condition import EmbeddingConfig
from unstir.nn.frozen_text import FrozenTextConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import CascadeSettings, UnclipSettings
from unstir.train.auto_clip_recipe import clip_recipe_for
from unstir.train.auto_latent_recipe import autoencoder_recipe
from unstir.train.auto_recipe import (
    LENGTH,
    SIZES,
    VOCABULARY,
    batch_size,
    data_std,
    network,
    recipe_for,
    sample_prompts,
    validation_settings,
)
from unstir.train.config import PartConfig, TrainConfig
from unstir.train.kinds import SizeName
from unstir.train.recipe import Recipe

CODES = FsqConfig((8, 5, 5, 5))
"""1,000 codes. Source: Mentzer et al. 2023, table 1 (levels for about 2^10 codes)."""

FEW_CODES = FsqConfig((8, 6, 5))
"""240 codes, for pictures below 32 pixels."""

CODES_FRACTION, CLIP_FRACTION, TEXT_FRACTION = 0.35, 0.25, 0.15
"""The fraction of the budget for the autoencoder of a VQ-VAE, for the CLIP of an unCLIP model, and for that of a
cascade, of which only the text encoder is used."""

TRANSFORMERS: dict[SizeName, tuple[int, int]] = {"s": (128, 6), "m": (256, 8), "l": (512, 12)}
"""Width and depth of the transformer over the codes."""

LADDERS: dict[SizeName, int] = {"s": 64, "m": 96, "l": 160}
"""Width of a VAE."""


def _text(size: SizeName) -> TextConfig:
    return TextConfig(VOCABULARY, LENGTH, SIZES[size].text_width, SIZES[size].text_depth)


def previous_step_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """The recipe of a diffusion model of the same size, whose network predicts the previous of 50 steps instead."""
    recipe = recipe_for(pictures, size)
    was = recipe.model
    model = PreviousStepConfig(was.network, was.text, was.schedule, was.sigma_data, layout=was.layout)
    return replace(recipe, model=model)


def vae_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a VAE: a ladder from one position to a quarter, or for small pictures all, of the positions."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    finest = side if side <= 16 else side // 2
    scales = [finest]
    while scales[-1] % 2 == 0 and scales[-1] > 4:
        scales.append(scales[-1] // 2)
    blocks = [2] * len(scales)
    if scales[-1] > 1:
        scales.append(1)
        blocks.append(1)
    return Recipe(
        model=VaeConfig(side, channels, _text(size), tuple(scales), tuple(blocks), LADDERS[size]),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(64, pictures),
            optimiser="adamw",
            adamw_lr=2e-3,
            caption_dropout=0.05,
            precision="fp32",
            clip=20.0,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
    )


def vqvae_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a VQ-VAE that draws its codes one after the other."""
    return _code_recipe(pictures, size, CodeModelConfig)


def maskgit_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a VQ-VAE that draws its codes in parallel."""
    return _code_recipe(pictures, size, MaskedCodeModelConfig)


def _code_recipe(pictures: Pictures, size: SizeName, kind: type[CodeModelConfig]) -> Recipe:
    small = pictures.pixels.shape[1] < 32
    first = autoencoder_recipe(pictures, size, FEW_CODES if small else CODES)
    autoencoder: AutoencoderConfig = first.model
    width, depth = TRANSFORMERS[size]
    text = _text(size)
    codes = (FEW_CODES if small else CODES).codes
    transformer = CodeTransformerConfig(
        autoencoder.latent_shape[1], codes, width, depth, heads=width // 32, words=text.width, dropout=0.05
    )
    return Recipe(
        model=kind(transformer, text, autoencoder),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(64, pictures),
            adamw_lr=SIZES[size].adamw_lr,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        stages={"autoencoder": first},
        fractions={"autoencoder": CODES_FRACTION},
    )


UNCLIP_GUIDANCE = 2.0
"""Of the decoder. It has little to gain: of digits, coverage falls from 0.91 at 1 to 0.87 at 2 (2026-11-21)."""


def unclip_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for an unCLIP model and its CLIP."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    first = clip_recipe_for(pictures, "s" if size == "l" else size)
    clip: ClipConfig = first.model
    chosen = SIZES[size]
    return Recipe(
        model=UnclipConfig(
            network=network(side, channels, size),
            text=EmbeddingConfig(clip.width, tokens=4, width=chosen.text_width),
            clip=clip,
            prior=PriorConfig(width=256, depth=4),
            sigma_data=data_std(pictures),
        ),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(chosen.batch_size, pictures),
            adamw_lr=chosen.adamw_lr,
            parts=(PartConfig("prior", optimiser="adamw", adamw_lr=1e-3),),
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        settings=UnclipSettings(guidance_scale=UNCLIP_GUIDANCE),
        stages={"clip": first},
        fractions={"clip": CLIP_FRACTION},
    )


def cascade_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a cascade and its CLIP: the first pictures have 8 to 16 pixels, each stage doubles the side."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    first = clip_recipe_for(pictures, "s" if size == "l" else size)
    clip: ClipConfig = first.model
    sides = [side]
    while sides[-1] % 2 == 0 and sides[-1] > (16 if side > 16 else 4) and len(sides) < 3:
        sides.append(sides[-1] // 2)
    words = SIZES[size].text_width
    networks = [_stage_network(s, channels, size, first=i == 0) for i, s in enumerate(reversed(sides))]
    return Recipe(
        model=CascadeConfig(
            tuple(networks), FrozenTextConfig(clip.text.width, words), clip, sigma_data=data_std(pictures)
        ),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(SIZES[size].batch_size, pictures),
            adamw_lr=SIZES[size].adamw_lr,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        settings=CascadeSettings(guidance_scale=CASCADE_GUIDANCE, augmentation=CASCADE_AUGMENTATION),
        stages={"clip": first},
        fractions={"clip": TEXT_FRACTION},
    )


CASCADE_GUIDANCE = 1.5
"""Every stage is guided, so less is needed. Of digits, 1.5 drew 83 % of the ways in which they are written and 3.0,
with dynamic thresholding, 9 % (2026-11-21)."""


CASCADE_AUGMENTATION = 0.1
"""Of shapes, whose forms are told apart by a few pixels, 88 % were right at 0.2 and 92 % at 0.05 (2026-11-21)."""


def _stage_network(side: int, channels: int, size: SizeName, first: bool) -> UNetConfig:
    """The U-Net of one stage: the first one is the widest; those that enlarge attend only where it is cheap."""
    widths = SIZES[size].widths
    words = SIZES[size].text_width
    if first:
        patch = 1 if side <= 8 else 2
        coarse = side // patch // 2 ** (len(widths) - 1)
        kept = widths if coarse >= 2 else widths[-2:]
        attend = (False, True, True)[-len(kept) :]
        return UNetConfig(side, channels, patch, kept, (1, 2, 2)[-len(kept) :], attend, words=words)
    patch = 2 if side <= 64 else 4
    kept = widths if side // patch >= 8 else widths[-2:]
    return UNetConfig(
        side, 2 * channels, patch, kept, (1,) * len(kept), (False, False, True)[-len(kept) :], words=words
    )


def with_clip(recipe: Recipe, models: Mapping[str, Any]) -> Recipe:
    """The recipe of a model that is built on a CLIP, for the CLIP among the models."""
    return replace(recipe, model=recipe.model.with_clip(models["clip"].config))


def with_encoder(recipe: Recipe, models: Mapping[str, Any]) -> Recipe:
    """The recipe of a cascade for the CLIP or text encoder that was given."""
    (encoder,) = models.values()
    return replace(recipe, model=recipe.model.with_encoder(encoder.config))
