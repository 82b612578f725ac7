"""Files of published models: JSON, and tensors as safetensors in one file or in shards."""

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

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LISTED = 3  # tensor names in an error message


@dataclass(frozen=True)
class TensorSource:
    """What one parameter is made from.

    names: tensors of the published file.
    convert: makes the parameter from these tensors; by default it is the first of them, unchanged.
    """

    names: tuple[str, ...]
    convert: Callable[[Sequence[Tensor]], Tensor] = lambda tensors: tensors[0]


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along the first dimension: queries, keys and values as one matrix."""
    return torch.cat(list(tensors))


def flatten_patches(tensors: Sequence[Tensor]) -> Tensor:
    """The kernel (width, C, p, p) of a convolution over patches as a matrix (width, C·p·p), as in `nn.dit.patches`."""
    return tensors[0].flatten(1)


def transpose(tensors: Sequence[Tensor]) -> Tensor:
    """(in, out), for x @ w, as (out, in), for nn.Linear."""
    return tensors[0].T


def scalar(tensors: Sequence[Tensor]) -> Tensor:
    """(1,) or () as ()."""
    return tensors[0].reshape(())


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object. Raises UserError if it does not."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}; save the model again with all of its files") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object")
    return value


def tensor_files(folder: Path, stem: str) -> dict[str, Path]:
    """Find the file of every tensor of a model.

    stem: the tensors are in `stem`.safetensors, or in the shards that `stem`.safetensors.index.json lists.
    Raises UserError if neither is there (also if there are pickles instead), or if the index does not match its shards.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        return dict.fromkeys(read_header(single)[1], single)
    if not index.is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
        if pickles:
            raise pickle_error(folder / pickles[0])
        raise UserError(f"{folder} holds no {single.name}; save the model again with its weights as safetensors")
    shards = read_json_object(index).get("weight_map")
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
    mismatched = sorted(set(shards) ^ set(found))
    if mismatched:
        raise UserError(f"{index} does not match the files beside it: {first_names(mismatched)}")
    return found


def pickle_error(path: Path) -> UserError:
    """The refusal of a pickled checkpoint."""
    return UserError(
        f"{path} is a pickle, which runs whatever code is in it when it is read; "
        "unstir reads safetensors only, so get the model in that format or convert it on a machine you can lose"
    )


def load_weights(
    model: nn.Module, weight_map: Mapping[str, TensorSource], files: Mapping[str, Path], folder: Path
) -> None:
    """Give a model on the meta device its weights, float32 on the CPU.

    weight_map: the source of every parameter of the model.
    files: the file of every tensor that was published.
    folder: named in error messages.
    Raises UserError if a tensor is missing, is unexpected, or has another shape than the configuration says.
    """
    expected = {name for source in weight_map.values() for name in source.names}
    missing, unexpected = sorted(expected - set(files)), sorted(set(files) - expected)
    if missing or unexpected:
        parts = [f"missing {first_names(missing)}"] if missing else []
        parts += [f"unexpected {first_names(unexpected)}"] if unexpected else []
        raise UserError(f"the tensors in {folder} do not match its configuration: {'; '.join(parts)}")
    tensors = _read_tensors(files)
    weights = {}
    for name, parameter in model.named_parameters():
        source = weight_map[name]
        try:
            value = source.convert([tensors[theirs] for theirs in source.names])
        except (RuntimeError, IndexError):  # shapes that cannot be joined or flattened
            value = torch.empty(0)
        if value.shape != parameter.shape:
            shapes = ", ".join(f"{theirs} {tuple(tensors[theirs].shape)}" for theirs in source.names)
            raise UserError(f"the shapes of tensors in {folder} do not match its configuration: {shapes}")
        weights[name] = value.contiguous()
    model.load_state_dict(weights, assign=True)


def _read_tensors(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """All tensors, float32. Raises UserError if a file cannot be read."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(set(files.values())):
        try:
            with safe_open(str(path), framework="pt") as file:
                # Copied: a view would change with the file, and its unaligned bytes change the last bits of results.
                tensors |= {
                    name: file.get_tensor(name).to(torch.float32, copy=True) for name, at in files.items() if at == path
                }
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    return tensors


def first_names(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def positive_int(section: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number >= 1 from a configuration, also where it is written as a list of equal ones ([224, 224]).

    Raises ValueError for anything else.
    """
    value = section.get(key, default)
    if isinstance(value, list) and value and all(one == value[0] for one in value):
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} is {value!r}; one whole number >= 1 is needed")
    return value


def channel_values(section: Mapping[str, Any], key: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
    """Three numbers from a configuration, one a colour channel. Raises ValueError for anything else."""
    value = section.get(key, default)
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(one, int | float) for one in value):
        raise ValueError(f"{key} is {value!r}; three numbers are needed")
    return tuple(float(one) for one in value)
