"""CLIP as `transformers` saves it: config.json, model.safetensors, preprocessor_config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.errors import UserError
from unstir.interop.checkpoint import (
    TensorSource,
    channel_values,
    concatenate,
    flatten_patches,
    positive_int,
    read_json_object,
    scalar,
)
from unstir.interop.preprocessing import Preprocessing
from unstir.models.clip import ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig

CONFIG, WEIGHTS = "config.json", "model"

LEGACY_END = 2
"""The end token that OpenAI's configurations name by mistake. With it texts are pooled at their largest token id."""

POSITION_IDS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Buffers 0, 1, 2, … that older versions saved among the weights."""


def read_config(folder: Path) -> tuple[ClipConfig, Preprocessing]:
    """Read the configuration of the model and of its preprocessing.

    Values that are left out are those of openai/clip-vit-base-patch32, as in `transformers`.
    Raises UserError if a file is missing or unreadable, ValueError if it describes another kind of network.
    """
    config = read_json_object(folder / CONFIG)
    if config.get("model_type") != "clip":
        raise ValueError(f"its model_type is {config.get('model_type')!r}; 'clip' is needed")
    # Old files have each part twice; in `transformers` the one with "_dict" wins.
    text, vision = ({**_part(config, f"{part}_config"), **_part(config, f"{part}_config_dict")} for part in PARTS)
    for part in (text, vision):
        if part.get("layer_norm_eps", 1e-5) != 1e-5:
            raise ValueError(f"its layer_norm_eps is {part['layer_norm_eps']}; 1e-05 is needed")
    size, channels = positive_int(vision, "image_size", 224), positive_int(vision, "num_channels", 3)
    if channels != 3:
        raise ValueError(f"its num_channels is {channels}; 3 is needed")
    preprocessing, mean, std = _read_preprocessing(folder, size)
    end = positive_int(text, "eos_token_id", 49407)
    return (
        ClipConfig(
            VisionConfig(
                size=size,
                channels=channels,
                patch=positive_int(vision, "patch_size", 32),
                width=positive_int(vision, "hidden_size", 768),
                depth=positive_int(vision, "num_hidden_layers", 12),
                heads=positive_int(vision, "num_attention_heads", 12),
                mlp=positive_int(vision, "intermediate_size", 3072),
                activation=str(vision.get("hidden_act", "quick_gelu")),
                mean=mean,
                std=std,
            ),
            ClipTextConfig(
                vocabulary=positive_int(text, "vocab_size", 49408),
                length=positive_int(text, "max_position_embeddings", 77),
                width=positive_int(text, "hidden_size", 512),
                depth=positive_int(text, "num_hidden_layers", 12),
                heads=positive_int(text, "num_attention_heads", 8),
                mlp=positive_int(text, "intermediate_size", 2048),
                activation=str(text.get("hidden_act", "quick_gelu")),
                causal=True,
                pool="argmax" if end == LEGACY_END else "first_end",
                end=0 if end == LEGACY_END else end,
            ),
            width=positive_int(config, "projection_dim", 512),
        ),
        preprocessing,
    )


PARTS = ("text", "vision")


def weight_map(config: ClipConfig) -> dict[str, TensorSource]:
    """The tensors of `transformers` that each parameter is made from."""
    sources = {
        "log_scale": TensorSource(("logit_scale",), scalar),
        "project_picture.weight": TensorSource(("visual_projection.weight",)),
        "project_words.weight": TensorSource(("text_projection.weight",)),
        "vision.embed.weight": TensorSource(("vision_model.embeddings.patch_embedding.weight",), flatten_patches),
        "vision.class_token": TensorSource(("vision_model.embeddings.class_embedding",)),
        "vision.position": TensorSource(("vision_model.embeddings.position_embedding.weight",)),
        "text.embed.weight": TensorSource(("text_model.embeddings.token_embedding.weight",)),
        "text.position": TensorSource(("text_model.embeddings.position_embedding.weight",)),
    }
    renamed = {
        "norm1": "layer_norm1",
        "attention.out": "self_attn.out_proj",
        "norm2": "layer_norm2",
        "mlp.up": "mlp.fc1",
        "mlp.down": "mlp.fc2",
    }
    for kind in ("weight", "bias"):
        # "layrnorm" is misspelt in every published file.
        sources[f"vision.norm_in.{kind}"] = TensorSource((f"vision_model.pre_layrnorm.{kind}",))
        sources[f"vision.norm.{kind}"] = TensorSource((f"vision_model.post_layernorm.{kind}",))
        sources[f"text.norm.{kind}"] = TensorSource((f"text_model.final_layer_norm.{kind}",))
        for part, depth in (("vision", config.vision.depth), ("text", config.text.depth)):
            for i in range(depth):
                ours, theirs = f"{part}.blocks.{i}", f"{part}_model.encoder.layers.{i}"
                for to, at in renamed.items():
                    sources[f"{ours}.{to}.{kind}"] = TensorSource((f"{theirs}.{at}.{kind}",))
                qkv = tuple(f"{theirs}.self_attn.{one}_proj.{kind}" for one in "qkv")
                sources[f"{ours}.attention.qkv.{kind}"] = TensorSource(qkv, concatenate)
    return sources


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value or {}


def _read_preprocessing(folder: Path, size: int) -> tuple[Preprocessing, tuple[float, ...], tuple[float, ...]]:
    """How pictures are brought to `size`, and the mean and standard deviation of their channels in [0, 1]."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():  # as newer versions save it
        path = folder / "processor_config.json"
        values = _part(read_json_object(path), "image_processor")
    else:
        values = read_json_object(path)
    try:
        return _preprocessing(values, size), *_normalisation(values)
    except ValueError as error:
        raise UserError(f"{path} asks for preprocessing that unstir does not have: {error}") from None


def _preprocessing(values: Mapping[str, Any], size: int) -> Preprocessing:
    filter_ = values.get("resample", 3)
    side = values.get("size", 224)
    if not values.get("do_resize", True) or not isinstance(filter_, int):
        raise ValueError(f"do_resize is {values.get('do_resize')!r}, resample {filter_!r}")
    if isinstance(side, dict) and "shortest_edge" not in side:
        if (positive_int(side, "height"), positive_int(side, "width")) != (size, size):
            raise ValueError(f"size is {side}; the model reads {size} pixels")
        return Preprocessing(size, filter=filter_)
    crop = values.get("crop_size", 224)
    crop = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
    crop_size = (positive_int(crop, "height"), positive_int(crop, "width"))
    if not values.get("do_center_crop", True) or crop_size != (size, size):
        raise ValueError(f"crop_size is {values.get('crop_size')}; the model reads {size} pixels")
    shorter = positive_int(side, "shortest_edge") if isinstance(side, dict) else positive_int(values, "size", 224)
    return Preprocessing(size, shorter, filter_)


def _normalisation(values: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not values.get("do_rescale", True) or abs(values.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError(f"rescale_factor is {values.get('rescale_factor')!r}; 1/255 is needed")
    if not values.get("do_normalize", True):
        return (0.0,) * 3, (1.0,) * 3
    return channel_values(values, "image_mean"), channel_values(values, "image_std")
