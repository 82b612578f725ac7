"""The autoencoder of Stable Diffusion (`AutoencoderKL` of diffusers) as an `Autoencoder`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.models.autoencoder import AutoencoderConfig, KlConfig
from unstir.nn.autoencoder import ConvNetConfig

SIZE = 512
"""Side of the pictures that Stable Diffusion's autoencoder was trained on, where its configuration does not say."""


def config_from(values: Mapping[str, Any]) -> AutoencoderConfig:
    """The configuration for the config.json of an `AutoencoderKL`. ValueError for variants that this class has not."""
    widths = tuple(int(width) for width in values["block_out_channels"])
    groups = int(values.get("norm_num_groups", 32))
    wrong = [width for width in widths if min(32, max(1, width // 4)) != groups]
    if wrong:
        raise ValueError(f"normalisation in {groups} groups is not possible here for a width of {wrong[0]}")
    if values.get("act_fn", "silu") != "silu" or not values.get("mid_block_add_attention", True):
        raise ValueError("only autoencoders with silu and attention in the middle can be read")
    mixes = values.get("use_quant_conv", True), values.get("use_post_quant_conv", True)
    if len(set(mixes)) > 1:
        raise ValueError("only autoencoders with convolutions on both sides of the latent, or on none, can be read")
    network = ConvNetConfig(
        int(values.get("in_channels", 3)),
        int(values["latent_channels"]),
        patch=1,
        widths=widths,
        blocks=int(values.get("layers_per_block", 1)),
        attend=True,
        resample="stride",
    )
    factor = network.factor
    size = int(values.get("sample_size") or SIZE)
    return AutoencoderConfig(max(factor, size // factor * factor), network, KlConfig(mix=bool(mixes[0]), offset=0.0))


def weights_from(weights: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of an `AutoencoderKL` by the names that an `Autoencoder` has.

    values: the config.json; its scaling and shift factors become deviation and mean of the latents.
    ValueError where a weight is missing or not known.
    """
    config = config_from(values)
    given = dict(weights)
    found: dict[str, Tensor] = {}

    def take(ours: str, theirs: str) -> None:
        for part in ("weight", "bias"):
            name = f"{theirs}.{part}"
            if name not in given:
                raise ValueError(f"the weights have no {name}")
            value = given.pop(name)
            found[f"{ours}.{part}"] = value.flatten(1) if value.ndim == 4 else value

    def block(ours: str, theirs: str) -> None:
        for name in ("norm1", "conv1", "norm2", "conv2"):
            take(f"{ours}.{name}", f"{theirs}.{name}")
        if f"{theirs}.conv_shortcut.weight" in given:
            take(f"{ours}.skip", f"{theirs}.conv_shortcut")

    def middle(ours: str, theirs: str) -> None:
        block(f"{ours}.0", f"{theirs}.resnets.0")
        block(f"{ours}.2", f"{theirs}.resnets.1")
        attention = f"{theirs}.attentions.0"
        take(f"{ours}.1.norm", f"{attention}.group_norm")
        take(f"{ours}.1.out", f"{attention}.to_out.0")
        for part in ("weight", "bias"):
            three = [given.pop(f"{attention}.to_{name}.{part}") for name in "qkv"]
            found[f"{ours}.1.qkv.{part}"] = torch.cat(three)

    scales = len(config.network.widths)
    for side, folder, count, change in (
        ("encoder", "down_blocks", config.network.blocks, ("down", "downsamplers")),
        ("decoder", "up_blocks", config.network.blocks + 1, ("up", "upsamplers")),
    ):
        take(f"{side}.inward", f"{side}.conv_in")
        middle(f"{side}.middle", f"{side}.mid_block")
        for scale in range(scales):
            for i in range(count):
                block(f"{side}.scales.{scale}.{i}", f"{side}.{folder}.{scale}.resnets.{i}")
            if scale + 1 < scales:
                take(f"{side}.{change[0]}.{scale}.conv", f"{side}.{folder}.{scale}.{change[1]}.0.conv")
        take(f"{side}.norm", f"{side}.conv_norm_out")
        take(f"{side}.out", f"{side}.conv_out")
    if isinstance(config.bottleneck, KlConfig) and config.bottleneck.mix:
        take("mix_in", "quant_conv")
        take("mix_out", "post_quant_conv")
    if given:
        raise ValueError(f"the weights have {len(given)} that are not known, {next(iter(given))} among them")
    channels = config.network.latent
    scale_factor = float(values.get("scaling_factor") or 1.0)
    found["latent_std"] = torch.full((channels,), 1 / scale_factor)
    found["latent_mean"] = torch.full((channels,), float(values.get("shift_factor") or 0.0))
    return found
