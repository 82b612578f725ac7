"""CLIP as `open_clip` saves it: open_clip_config.json and open_clip_model.safetensors."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unstir.interop.checkpoint import Origin, flat, number, numbers, read_object, transposed, whole
from unstir.interop.preprocessing import Preprocessing
from unstir.models.clip import ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model"

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that OpenAI's CLIP was trained on; `open_clip` takes them where a file names none."""

SAME = frozenset(
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
"""What changes nothing in the vectors of the models that are read here."""

OFF = frozenset(
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
"""What would make it another network, and so must be off or left out."""


def read_config(folder: Path, tensors: Iterable[str]) -> tuple[ClipConfig, Preprocessing]:
    """What the folder says of its model and its pictures. UserError where that is missing, ValueError where not ours.

    tensors: the names of all there are; with a bias of the cosines among them, the model was trained as SigLIP.
    """
    said = read_object(folder / CONFIG)
    model, pictures = _part(said, "model_cfg"), _part(said, "preprocess_cfg")
    text, vision = _part(model, "text_cfg"), _part(model, "vision_cfg")
    _check(model, {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"})
    _check(vision, {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "pool_type"})
    _check(text, {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pool_type", "eos_id"})
    _one_of(vision, "pool_type", "tok")
    _one_of(text, "proj_type", "linear")
    activation = "quick_gelu" if model.get("quick_gelu", False) else "gelu"
    size, width, text_width = whole(vision, "image_size", 224), whole(vision, "width", 768), whole(text, "width", 512)
    ends = _one_of(text, "pool_type", "argmax", "eos") == "eos"
    return (
        ClipConfig(
            VisionConfig(
                size=size,
                channels=3,
                patch=whole(vision, "patch_size", 16),
                width=width,
                depth=whole(vision, "layers", 12),
                heads=width // whole(vision, "head_width", 64),
                mlp=int(width * vision.get("mlp_ratio", 4)),
                activation=activation,
                mean=numbers(pictures, "mean", MEAN),
                std=numbers(pictures, "std", STD),
            ),
            ClipTextConfig(
                vocabulary=whole(text, "vocab_size", 49408),
                length=whole(text, "context_length", 77),
                width=text_width,
                depth=whole(text, "layers", 12),
                heads=whole(text, "heads", 8),
                mlp=int(text_width * text.get("mlp_ratio", 4)),
                activation=activation,
                causal=True,
                pool="first_end" if ends else "argmax",
                end=whole(text, "eos_id", 2) if ends else 0,
            ),
            width=whole(model, "embed_dim"),
            loss="sigmoid" if "logit_bias" in tensors else "softmax",
        ),
        _preparation(pictures, size),
    )


def origins(config: ClipConfig, tensors: Iterable[str]) -> dict[str, Origin]:
    """Where `open_clip` keeps each of our weights: those of the words at the top or under "text."."""
    words = "text." if "text.token_embedding.weight" in tensors else ""
    found = {
        "log_scale": Origin(("logit_scale",), number),
        "project_picture.weight": Origin(("visual.proj",), transposed),
        "project_words.weight": Origin((f"{words}text_projection",), transposed),
        "vision.embed.weight": Origin(("visual.conv1.weight",), flat),
        "vision.class_token": Origin(("visual.class_embedding",)),
        "vision.position": Origin(("visual.positional_embedding",)),
        "text.embed.weight": Origin((f"{words}token_embedding.weight",)),
        "text.position": Origin((f"{words}positional_embedding",)),
    }
    if config.loss == "sigmoid":
        found["bias"] = Origin(("logit_bias",), number)
    plain = {
        "norm1.{}": "ln_1.{}",
        "attention.qkv.{}": "attn.in_proj_{}",
        "attention.out.{}": "attn.out_proj.{}",
        "norm2.{}": "ln_2.{}",
        "mlp.up.{}": "mlp.c_fc.{}",
        "mlp.down.{}": "mlp.c_proj.{}",
    }
    for kind in ("weight", "bias"):
        found[f"vision.norm_in.{kind}"] = Origin((f"visual.ln_pre.{kind}",))
        found[f"vision.norm.{kind}"] = Origin((f"visual.ln_post.{kind}",))
        found[f"text.norm.{kind}"] = Origin((f"{words}ln_final.{kind}",))
        for part, prefix, depth in (("vision", "visual.", config.vision.depth), ("text", words, config.text.depth)):
            for i in range(depth):
                ours, theirs = f"{part}.blocks.{i}.", f"{prefix}transformer.resblocks.{i}."
                for to, at in plain.items():
                    found[ours + to.format(kind)] = Origin((theirs + at.format(kind),))
    return found


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def _check(section: Mapping[str, Any], read: set[str]) -> None:
    """Refuse a configuration that asks for more than these networks have."""
    for key, value in section.items():
        if key in OFF and value:
            raise ValueError(f"{key} is {value!r}, and there is no such thing in the networks here")
        if key not in read | SAME | OFF | {"proj_type"}:
            raise ValueError(f"it has the field {key!r}, which is not known here")


def _one_of(section: Mapping[str, Any], key: str, *accepted: str) -> str:
    """The value of a choice, the first of `accepted` where it is left out."""
    value = section.get(key, accepted[0])
    if value not in accepted:
        raise ValueError(f"{key} is {value!r}, and here it can be {' or '.join(accepted)}")
    return str(value)


def _preparation(said: Mapping[str, Any], size: int) -> Preprocessing:
    filter_ = {"bicubic": 3, "random": 3, "bilinear": 2}[
        _one_of(said, "interpolation", "bicubic", "random", "bilinear")
    ]
    squash = _one_of(said, "resize_mode", "shortest", "squash") == "squash"
    return Preprocessing(size, 0 if squash else size, filter_)
