"""CLIP as `transformers` saves it: config.json, model.safetensors, preprocessor_config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.errors import UserError
from unstir.interop.checkpoint import Origin, flat, number, numbers, read_object, together, whole
from unstir.interop.preprocessing import Preprocessing
from unstir.models.clip import ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig

CONFIG, WEIGHTS = "config.json", "model"

WRONG_END = 2
"""The end token that OpenAI's configurations name in error. With it the largest id is taken for the end."""

NOT_WEIGHTS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""0, 1, 2, … which older versions saved as if they were weights."""


def read_config(folder: Path) -> tuple[ClipConfig, Preprocessing]:
    """What the folder says of its model and its pictures. UserError where that is missing, ValueError where not ours.

    Values that are left out are those of openai/clip-vit-base-patch32, as in `transformers`.
    """
    config = read_object(folder / CONFIG)
    if config.get("model_type") != "clip":
        raise ValueError(f"its model_type is {config.get('model_type')!r} and not 'clip'")
    # Old files have each part twice; `transformers` lets the one with "_dict" win.
    text, vision = ({**_part(config, f"{part}_config"), **_part(config, f"{part}_config_dict")} for part in PARTS)
    for part in (text, vision):
        if part.get("layer_norm_eps", 1e-5) != 1e-5:
            raise ValueError(f"its layer norms add {part['layer_norm_eps']} to the variance, ours 1e-05")
    size, channels = whole(vision, "image_size", 224), whole(vision, "num_channels", 3)
    if channels != 3:
        raise ValueError(f"its pictures have {channels} channels and not 3")
    preparation, mean, std = _read_preparation(folder, size)
    end = whole(text, "eos_token_id", 49407)
    return (
        ClipConfig(
            VisionConfig(
                size=size,
                channels=channels,
                patch=whole(vision, "patch_size", 32),
                width=whole(vision, "hidden_size", 768),
                depth=whole(vision, "num_hidden_layers", 12),
                heads=whole(vision, "num_attention_heads", 12),
                mlp=whole(vision, "intermediate_size", 3072),
                activation=str(vision.get("hidden_act", "quick_gelu")),
                mean=mean,
                std=std,
            ),
            ClipTextConfig(
                vocabulary=whole(text, "vocab_size", 49408),
                length=whole(text, "max_position_embeddings", 77),
                width=whole(text, "hidden_size", 512),
                depth=whole(text, "num_hidden_layers", 12),
                heads=whole(text, "num_attention_heads", 8),
                mlp=whole(text, "intermediate_size", 2048),
                activation=str(text.get("hidden_act", "quick_gelu")),
                causal=True,
                pool="argmax" if end == WRONG_END else "first_end",
                end=0 if end == WRONG_END else end,
            ),
            width=whole(config, "projection_dim", 512),
        ),
        preparation,
    )


PARTS = ("text", "vision")


def origins(config: ClipConfig) -> dict[str, Origin]:
    """Where `transformers` keeps each of our weights."""
    found = {
        "log_scale": Origin(("logit_scale",), number),
        "project_picture.weight": Origin(("visual_projection.weight",)),
        "project_words.weight": Origin(("text_projection.weight",)),
        "vision.embed.weight": Origin(("vision_model.embeddings.patch_embedding.weight",), flat),
        "vision.class_token": Origin(("vision_model.embeddings.class_embedding",)),
        "vision.position": Origin(("vision_model.embeddings.position_embedding.weight",)),
        "text.embed.weight": Origin(("text_model.embeddings.token_embedding.weight",)),
        "text.position": Origin(("text_model.embeddings.position_embedding.weight",)),
    }
    plain = {
        "norm1": "layer_norm1",
        "attention.out": "self_attn.out_proj",
        "norm2": "layer_norm2",
        "mlp.up": "mlp.fc1",
        "mlp.down": "mlp.fc2",
    }
    for kind in ("weight", "bias"):
        # The first norm of the pictures is misspelt in every published file.
        found[f"vision.norm_in.{kind}"] = Origin((f"vision_model.pre_layrnorm.{kind}",))
        found[f"vision.norm.{kind}"] = Origin((f"vision_model.post_layernorm.{kind}",))
        found[f"text.norm.{kind}"] = Origin((f"text_model.final_layer_norm.{kind}",))
        for part, depth in (("vision", config.vision.depth), ("text", config.text.depth)):
            for i in range(depth):
                ours, theirs = f"{part}.blocks.{i}", f"{part}_model.encoder.layers.{i}"
                found |= {f"{ours}.{to}.{kind}": Origin((f"{theirs}.{at}.{kind}",)) for to, at in plain.items()}
                qkv = tuple(f"{theirs}.self_attn.{one}_proj.{kind}" for one in "qkv")
                found[f"{ours}.attention.qkv.{kind}"] = Origin(qkv, together)
    return found


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value or {}


def _read_preparation(folder: Path, size: int) -> tuple[Preprocessing, tuple[float, ...], tuple[float, ...]]:
    """How pictures are cut to `size`, and the mean and standard deviation of their channels in [0, 1]."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():  # as newer versions save it
        path = folder / "processor_config.json"
        said = _part(read_object(path), "image_processor")
    else:
        said = read_object(path)
    try:
        return _preparation(said, size), *_normalisation(said)
    except ValueError as error:
        raise UserError(f"{path} wants pictures in a way that is not known here: {error}") from None


def _preparation(said: Mapping[str, Any], size: int) -> Preprocessing:
    filter_ = said.get("resample", 3)
    side = said.get("size", 224)
    if not said.get("do_resize", True) or not isinstance(filter_, int):
        raise ValueError(f"do_resize is {said.get('do_resize')!r}, resample {filter_!r}")
    if isinstance(side, dict) and "shortest_edge" not in side:
        if (whole(side, "height"), whole(side, "width")) != (size, size):
            raise ValueError(f"size is {side}, and the model reads {size} pixels")
        return Preprocessing(size, filter=filter_)
    crop = said.get("crop_size", 224)
    crop = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
    if not said.get("do_center_crop", True) or (whole(crop, "height"), whole(crop, "width")) != (size, size):
        raise ValueError(f"crop_size is {said.get('crop_size')}, and the model reads {size} pixels")
    shorter = whole(side, "shortest_edge") if isinstance(side, dict) else whole(said, "size", 224)
    return Preprocessing(size, shorter, filter_)


def _normalisation(said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not said.get("do_rescale", True) or abs(said.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError(f"rescale_factor is {said.get('rescale_factor')!r} and not 1/255")
    if not said.get("do_normalize", True):
        return (0.0,) * 3, (1.0,) * 3
    return numbers(said, "image_mean"), numbers(said, "image_std")
