"""CLIP as `open_clip` saves it: open_clip_config.json and open_clip_model.safetensors."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unstir.interop.checkpoint import (
    TensorSource,
    channel_values,
    flatten_patches,
    positive_int,
    read_json_object,
    scalar,
    transpose,
)
from unstir.interop.preprocessing import Preprocessing
from unstir.models.clip import ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model"

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that OpenAI's CLIP was trained on; the defaults of `open_clip`."""

IGNORED_FIELDS = frozenset(
    {
        "custom_text",
        "init_logit_scale",
        "init_logit_bias",
        "nonscalar_logit_scale",
        "output_dict",
        "cast_dtype",
        "output_tokens",
        "patch_dropout",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "pos_embed_type",
        "final_ln_after_pool",
        "block_type",
        "timm_model_pretrained",
        "timm_pool",
        "timm_proj",
        "timm_proj_bias",
        "timm_drop",
        "timm_drop_path",
        "hf_tokenizer_name",
        "tokenizer_mode",
        "pad_id",
        "hf_model_pretrained",
        "hf_proj_type",
        "hf_pooler_type",
    }
)
"""Fields that change nothing in the vectors of the models that are read here."""

UNSUPPORTED_FIELDS = frozenset(
    {
        "multimodal_cfg",
        "ls_init_value",
        "attentional_pool",
        "no_ln_pre",
        "act_kwargs",
        "norm_kwargs",
        "qk_norm",
        "scaled_cosine_attn",
        "scale_heads",
        "scale_attn_inner",
        "scale_attn",
        "scale_fc",
        "timm_model_name",
        "hf_model_name",
        "embed_cls",
        "no_causal_mask",
        "proj_bias",
        "tokenizer_kwargs",
    }
)
"""Fields of other networks: they must be off or left out."""


def read_config(folder: Path, tensors: Iterable[str]) -> tuple[ClipConfig, Preprocessing]:
    """Read the configuration of the model and of its preprocessing.

    tensors: their names. With "logit_bias" among them the model was trained with the sigmoid loss (SigLIP).
    Raises UserError if the file is missing or unreadable, ValueError if it describes another kind of network.
    """
    values = read_json_object(folder / CONFIG)
    model, pictures = _part(values, "model_cfg"), _part(values, "preprocess_cfg")
    text, vision = _part(model, "text_cfg"), _part(model, "vision_cfg")
    _check(model, {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"})
    _check(vision, {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "pool_type"})
    _check(text, {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pool_type", "eos_id"})
    _one_of(vision, "pool_type", "tok")
    _one_of(text, "proj_type", "linear")
    activation = "quick_gelu" if model.get("quick_gelu", False) else "gelu"
    size, width = positive_int(vision, "image_size", 224), positive_int(vision, "width", 768)
    text_width = positive_int(text, "width", 512)
    ends = _one_of(text, "pool_type", "argmax", "eos") == "eos"
    return (
        ClipConfig(
            VisionConfig(
                size=size,
                channels=3,
                patch=positive_int(vision, "patch_size", 16),
                width=width,
                depth=positive_int(vision, "layers", 12),
                heads=width // positive_int(vision, "head_width", 64),
                mlp=int(width * vision.get("mlp_ratio", 4)),
                activation=activation,
                mean=channel_values(pictures, "mean", MEAN),
                std=channel_values(pictures, "std", STD),
            ),
            ClipTextConfig(
                vocabulary=positive_int(text, "vocab_size", 49408),
                length=positive_int(text, "context_length", 77),
                width=text_width,
                depth=positive_int(text, "layers", 12),
                heads=positive_int(text, "heads", 8),
                mlp=int(text_width * text.get("mlp_ratio", 4)),
                activation=activation,
                causal=True,
                pool="first_end" if ends else "argmax",
                end=positive_int(text, "eos_id", 2) if ends else 0,
            ),
            width=positive_int(model, "embed_dim"),
            loss="sigmoid" if "logit_bias" in tensors else "softmax",
        ),
        _preprocessing(pictures, size),
    )


def weight_map(config: ClipConfig, tensors: Iterable[str]) -> dict[str, TensorSource]:
    """The tensors of `open_clip` that each parameter is made from.

    tensors: their names. Those of the text encoder have the prefix "text." or none.
    """
    text = "text." if "text.token_embedding.weight" in tensors else ""
    sources = {
        "log_scale": TensorSource(("logit_scale",), scalar),
        "project_picture.weight": TensorSource(("visual.proj",), transpose),
        "project_words.weight": TensorSource((f"{text}text_projection",), transpose),
        "vision.embed.weight": TensorSource(("visual.conv1.weight",), flatten_patches),
        "vision.class_token": TensorSource(("visual.class_embedding",)),
        "vision.position": TensorSource(("visual.positional_embedding",)),
        "text.embed.weight": TensorSource((f"{text}token_embedding.weight",)),
        "text.position": TensorSource((f"{text}positional_embedding",)),
    }
    if config.loss == "sigmoid":
        sources["bias"] = TensorSource(("logit_bias",), scalar)
    renamed = {
        "norm1.{}": "ln_1.{}",
        "attention.qkv.{}": "attn.in_proj_{}",
        "attention.out.{}": "attn.out_proj.{}",
        "norm2.{}": "ln_2.{}",
        "mlp.up.{}": "mlp.c_fc.{}",
        "mlp.down.{}": "mlp.c_proj.{}",
    }
    for kind in ("weight", "bias"):
        sources[f"vision.norm_in.{kind}"] = TensorSource((f"visual.ln_pre.{kind}",))
        sources[f"vision.norm.{kind}"] = TensorSource((f"visual.ln_post.{kind}",))
        sources[f"text.norm.{kind}"] = TensorSource((f"{text}ln_final.{kind}",))
        for part, prefix, depth in (("vision", "visual.", config.vision.depth), ("text", text, config.text.depth)):
            for i in range(depth):
                ours, theirs = f"{part}.blocks.{i}.", f"{prefix}transformer.resblocks.{i}."
                for to, at in renamed.items():
                    sources[ours + to.format(kind)] = TensorSource((theirs + at.format(kind),))
    return sources


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def _check(section: Mapping[str, Any], read: set[str]) -> None:
    """Raise ValueError for a field that asks for something these networks do not have."""
    for key, value in section.items():
        if key in UNSUPPORTED_FIELDS and value:
            raise ValueError(f"{key} is {value!r}, which unstir does not support")
        if key not in read | IGNORED_FIELDS | UNSUPPORTED_FIELDS | {"proj_type"}:
            raise ValueError(f"it has the field {key!r}, which unstir does not know")


def _one_of(section: Mapping[str, Any], key: str, *accepted: str) -> str:
    """The value of a choice; the first of `accepted` if it is left out. Raises ValueError for another."""
    value = section.get(key, accepted[0])
    if value not in accepted:
        raise ValueError(f"{key} is {value!r}; {' or '.join(accepted)} is needed")
    return str(value)


def _preprocessing(values: Mapping[str, Any], size: int) -> Preprocessing:
    filter_ = {"bicubic": 3, "random": 3, "bilinear": 2}[
        _one_of(values, "interpolation", "bicubic", "random", "bilinear")
    ]
    squash = _one_of(values, "resize_mode", "shortest", "squash") == "squash"
    return Preprocessing(size, 0 if squash else size, filter_)
