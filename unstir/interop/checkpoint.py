"""The files of a published model: JSON, and tensors as safetensors in one piece or in shards."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unstir.errors import UserError
from unstir.weights.model_file import read_header

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NAMED = 3  # tensors that a complaint lists


@dataclass(frozen=True)
class Origin:
    """Where one of our weights comes from: their tensors by name, and how it is made of them."""

    names: tuple[str, ...]
    made: Callable[[Sequence[Tensor]], Tensor] = lambda tensors: tensors[0]


def together(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other: queries, keys and values in one matrix."""
    return torch.cat(list(tensors))


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """(width, C, p, p), a convolution over patches, as the matrix (width, C·p·p) of `nn.dit.patches`."""
    return tensors[0].flatten(1)


def transposed(tensors: Sequence[Tensor]) -> Tensor:
    """(in, out), for x @ w, as nn.Linear has it: (out, in)."""
    return tensors[0].T


def number(tensors: Sequence[Tensor]) -> Tensor:
    """(1,) or () as ()."""
    return tensors[0].reshape(())


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object. UserError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}, which a CLIP in this layout comes with") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object")
    return value


def tensor_files(folder: Path, stem: str) -> dict[str, Path]:
    """The file of every tensor of `stem`.safetensors, or of the shards that `stem`.safetensors.index.json lists.

    UserError where there are neither, and in particular where there are pickles only.
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole.is_file():
        return dict.fromkeys(read_header(whole)[1], whole)
    if not index.is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        if pickles:
            raise refusal(folder / pickles[0])
        raise UserError(f"{folder} holds no {whole.name}")
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict) or not all(
        isinstance(shard, str) and Path(shard).name == shard and shard.endswith(".safetensors")
        for shard in shards.values()
    ):
        raise UserError(f"{index} does not say in which safetensors file beside it each tensor is")
    found = {}
    for shard in sorted(set(shards.values())):
        if not (folder / shard).is_file():
            raise UserError(f"{folder} lacks {shard}, one of the files that {index.name} lists")
        found.update(dict.fromkeys(read_header(folder / shard)[1], folder / shard))
    odd = sorted(set(shards) ^ set(found))
    if odd:
        raise UserError(f"{index} does not fit the files beside it: {named(odd)}")
    return found


def refusal(path: Path) -> UserError:
    """Of a pickled checkpoint."""
    return UserError(
        f"{path} is a pickle, which runs whatever code is in it when it is read; "
        "unstir reads safetensors only, so get the model in that format or convert it where you trust it"
    )


def fill(model: nn.Module, origins: Mapping[str, Origin], files: Mapping[str, Path], where: Path) -> None:
    """Give a model laid out without memory its weights, float32 on the CPU, and nothing but them.

    origins: of every parameter of the model.  files: of every tensor there is.  where: named in complaints.
    UserError where a tensor is missing, is one too many, or has another shape than the configuration says.
    """
    wanted = {name for origin in origins.values() for name in origin.names}
    missing, surplus = sorted(wanted - set(files)), sorted(set(files) - wanted)
    if missing or surplus:
        lacks = [f"misses {named(missing)}"] if missing else []
        has = [f"has {named(surplus)} too many"] if surplus else []
        raise UserError(f"{where} does not hold the CLIP that it describes: it {' and '.join([*lacks, *has])}")
    tensors: dict[str, Tensor] = {}
    for path in sorted(set(files.values())):
        try:
            with safe_open(str(path), framework="pt") as file:
                # Copied: a view would change with the file, and its bytes begin anywhere, which changes last bits.
                tensors |= {
                    name: file.get_tensor(name).to(torch.float32, copy=True) for name, at in files.items() if at == path
                }
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    weights = {}
    for name, parameter in model.named_parameters():
        origin = origins[name]
        try:
            value = origin.made([tensors[theirs] for theirs in origin.names])
        except (RuntimeError, IndexError):  # shapes that cannot be put together
            value = torch.empty(0)
        if value.shape != parameter.shape:
            shapes = ", ".join(f"{theirs} {tuple(tensors[theirs].shape)}" for theirs in origin.names)
            raise UserError(f"{where} has tensors of other shapes than it describes: {shapes}")
        weights[name] = value.contiguous()
    model.load_state_dict(weights, assign=True)


def named(tensors: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    rest = len(tensors) - _NAMED
    return ", ".join(tensors[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def whole(section: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive whole number of a configuration, which may stand there twice ([224, 224]); ValueError for others."""
    value = section.get(key, default)
    if isinstance(value, list) and value and all(one == value[0] for one in value):
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} is {value!r} and not one positive whole number")
    return value


def numbers(section: Mapping[str, Any], key: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
    """Three numbers of a configuration, one a colour; ValueError for others."""
    value = section.get(key, default)
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(one, int | float) for one in value):
        raise ValueError(f"{key} is {value!r} and not three numbers")
    return tuple(float(one) for one in value)
