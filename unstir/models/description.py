"""The description of a model, JSON values for the header of its file, and building the model from it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from unstir.models.autoencoder import KlConfig
from unstir.models.clip import ClipConfig
from unstir.models.paradigms import Paradigm, names, paradigm, paradigm_of
from unstir.models.pretrained_text import PretrainedTextConfig
from unstir.models.quantise import CodebookConfig, FsqConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import Settings

T = TypeVar("T")

NETWORKS: dict[str, type] = {
    "dit": DiTConfig,
    "unet": UNetConfig,
    "kl": KlConfig,
    "fsq": FsqConfig,
    "codebook": CodebookConfig,
    "clip": ClipConfig,
    "pretrained": PretrainedTextConfig,
}
"""The value of `kind` in a field that may hold one of several networks, bottlenecks or text encoders."""


def describe(model: nn.Module) -> dict[str, Any]:
    """The description of a model: everything that `build` needs except the weights, as JSON values."""
    tokenizer = getattr(model, "tokenizer", None)
    known = {"kind": paradigm_of(model).name, "config": config_values(model.config)}
    return known if tokenizer is None else known | {"tokenizer": tokenizer.json}


def described_kind(description: Mapping[str, Any]) -> Paradigm:
    """The record of the kind of a described model. ValueError where there is none."""
    match description:
        case {"kind": str() as kind} if kind in names():
            return paradigm(kind)
        case {"kind": kind}:
            raise ValueError(f"there is no model of kind {kind!r} in this version; there are: {', '.join(names())}")
    raise ValueError("the description of the model has no kind")


def build(description: Mapping[str, Any]) -> nn.Module:
    """The model of a description, its weights not initialised. ValueError for a description that makes no sense."""
    record = described_kind(description)
    match description:
        case {"config": dict() as config, "tokenizer": str() as tokenizer} if record.tokenizer is not None:
            return record.model(dataclass_from(record.config, config), record.tokenizer(tokenizer))
        case {"config": dict() as config} if record.tokenizer is None:
            return record.model(dataclass_from(record.config, config))
    raise ValueError("the description of the model has no configuration or no tokenizer")


def config_values(config: Any) -> dict[str, Any]:
    """A frozen dataclass of numbers, texts and further dataclasses as nested dictionaries."""
    hints = _hints(type(config))  # type: ignore[arg-type]
    return {f.name: _plain(getattr(config, f.name), hints[f.name]) for f in fields(config)}


def _plain(value: Any, hint: Any) -> Any:
    if is_dataclass(value):
        values = config_values(value)
        if len(_nested(hint)) > 1:
            values["kind"] = next(kind for kind, one in NETWORKS.items() if type(value) is one)
        return values
    if isinstance(value, tuple):
        return tuple(_plain(one, _item(hint)) for one in value)
    return value


def _nested(hint: Any) -> list[type]:
    """The dataclasses that a field may hold."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [option for option in options if is_dataclass(option) and isinstance(option, type)]


def _item(hint: Any) -> Any:
    """The type of the items of a tuple."""
    inner = get_args(hint)
    return inner[0] if get_origin(hint) is tuple and inner else Any


def settings_of(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings from a dictionary; missing ones keep their default. ValueError for unknown names and bad values."""
    return dataclass_from(kind, values)


def dataclass_from(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from nested dictionaries, as `config_values` returns them; lists become tuples.

    ValueError for unknown or missing fields.
    """
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}; a newer version may have written this")
    hints = _hints(kind)  # type: ignore[arg-type]
    try:
        return kind(**{name: _value(value, hints[name]) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(value: Any, hint: Any) -> Any:
    """A JSON value as the type of its field."""
    if value is None and NoneType in get_args(hint):
        return None
    nested = _nested(hint)
    if nested and not isinstance(value, dict):
        raise ValueError(f"there is {value!r} where a {' or a '.join(kind.__name__ for kind in nested)} should be")
    if nested:
        if len(nested) == 1:
            return dataclass_from(nested[0], {k: v for k, v in value.items() if k != "kind" or _has_kind(nested[0])})
        kind = NETWORKS.get(str(value.get("kind")))
        if kind not in nested:
            allowed = ", ".join(name for name, network in NETWORKS.items() if network in nested)
            raise ValueError(f"there is no network {value.get('kind')!r}; there are: {allowed}")
        return dataclass_from(kind, {k: v for k, v in value.items() if k != "kind"})
    if isinstance(value, list):
        return tuple(_value(one, _item(hint)) for one in value)
    return value


def _has_kind(kind: type) -> bool:
    return any(f.name == "kind" for f in fields(kind))
