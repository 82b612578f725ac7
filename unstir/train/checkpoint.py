"""Checkpoints: the state of a run in one safetensors file, written atomically."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unstir.errors import UserError
from unstir.files import write_atomic

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run.

    tensors: weights, averages and optimiser states by path.
    facts: everything else, as JSON values.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below this prefix, without it."""
        start = prefix + "/"
        return {name[len(start) :]: value for name, value in self.tensors.items() if name.startswith(start)}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of the run in this folder, replacing the one before."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    metadata = {"facts": json.dumps(checkpoint.facts, sort_keys=True)}
    size = sum(value.nbytes for value in tensors.values())
    write_atomic(folder / NAME, lambda temporary: save_file(tensors, temporary, metadata=metadata), size=size)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the run in this folder, or None if there is none; UserError if it cannot be read.

    Also removes temporary files that a killed process left in the folder.
    """
    path = folder / NAME
    for pattern in (".*.tmp", ".tmp*"):  # ours, and those of safetensors
        for stray in folder.rglob(pattern):
            stray.unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            # A copy: the file may be replaced while its pages are still mapped.
            tensors = {name: torch.clone(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); delete it to begin this run again"
        ) from None
    return Checkpoint(tensors, facts)


def load_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of the checkpoint in this folder without its tensors, or None if there is none.

    UserError if it cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); delete it to begin this run again"
        ) from None
    return facts
