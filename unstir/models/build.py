"""A model as a plain dictionary (for the header of its file) and back. Built with `match`, never from dotted names."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from torch import nn

from unstir.models.clip import Clip, ClipConfig
from unstir.models.diffusion import Diffusion, DiffusionConfig, Sampling
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.nn.vision import VisionConfig
from unstir.text.clip_tokenizer import tokenizer_of
from unstir.text.tokenizer import Tokenizer

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


class WrongKind(ValueError):
    """A description of a model that is known, but not the kind that was asked for."""


def describe(model: Diffusion | Clip) -> dict[str, Any]:
    """Everything that `build_as` needs but the weights; JSON-able."""
    config = asdict(model.config)
    match model:
        case Diffusion():
            kind = "diffusion"
            config["network"]["kind"] = "dit" if isinstance(model.config.network, DiTConfig) else "unet"
        case Clip():
            kind = "clip"
    return {"kind": kind, "config": config, "tokenizer": model.tokenizer.json}


def build(description: Mapping[str, Any]) -> Diffusion:
    """The diffusion model of a description, as `build_as`."""
    return build_as(Diffusion, description)


def build_as(wanted: type[M], description: Mapping[str, Any]) -> M:
    """The model of a description, with weights not yet filled in.

    ValueError where it describes nothing we know; WrongKind where it is another kind of model than is wanted.
    """
    match description:
        case {"kind": "diffusion", "config": dict() as config, "tokenizer": str() as tokenizer}:
            model: nn.Module = Diffusion(diffusion_config(config), Tokenizer(tokenizer))
        case {"kind": "clip", "config": dict() as config, "tokenizer": str() as tokenizer}:
            model = Clip(clip_config(config), tokenizer_of(tokenizer))
        case {"kind": "diffusion" | "clip"}:
            raise ValueError("the description of the model has no configuration or no tokenizer")
        case {"kind": kind}:
            raise ValueError(f"there is no model of kind {kind!r} in this version; there are: diffusion, clip")
        case _:
            raise ValueError("the description of the model has no kind")
    if not isinstance(model, wanted):
        raise WrongKind(f"it is a {type(model).__name__} model and a {wanted.__name__} model is needed")
    return model


def diffusion_config(values: Mapping[str, Any]) -> DiffusionConfig:
    """DiffusionConfig from nested dictionaries, each network with its `kind`."""
    rest = dict(values)
    network, text, layout = dict(rest.pop("network", {})), rest.pop("text", {}), rest.pop("layout", None)
    match network.pop("kind", None):
        case "dit":
            net: DiTConfig | UNetConfig = dataclass_from(DiTConfig, network)
        case "unet":
            net = dataclass_from(UNetConfig, network)
        case kind:
            raise ValueError(f"there is no network {kind!r}; there are: dit, unet")
    reader = None if layout is None else dataclass_from(LayoutConfig, layout)
    return dataclass_from(
        DiffusionConfig, {**rest, "network": net, "text": dataclass_from(TextConfig, text), "layout": reader}
    )


def clip_config(values: Mapping[str, Any]) -> ClipConfig:
    """ClipConfig from nested dictionaries."""
    rest = dict(values)
    vision, text = rest.pop("vision", {}), rest.pop("text", {})
    return dataclass_from(
        ClipConfig,
        {**rest, "vision": dataclass_from(VisionConfig, vision), "text": dataclass_from(ClipTextConfig, text)},
    )


def sampling_of(values: Mapping[str, Any]) -> Sampling:
    """The dials of a request from a dictionary; missing ones keep their default."""
    return replace(Sampling(), **vars(dataclass_from(Sampling, values)))


def dataclass_from(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from a dictionary, lists as tuples; ValueError names fields that it does not have or misses."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}; a newer version may have written this")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None
