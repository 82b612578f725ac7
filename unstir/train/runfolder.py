"""A run is a folder: what is in it, and how a run is begun there and found again.

run.json                 what was decided when the run began: model, training, prompts, dials; never changed after
pictures/                the pictures as the run sees them, so that it can go on if the originals change
checkpoint.safetensors   everything that changes while training
model.safetensors        the averaged weights, for `generate`: rewritten at every sample grid and at the end
log.jsonl, samples/      what to look at
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unstir.data.pictures import LISTING, PIXELS, Pictures
from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.models.build import build, describe, frozen, sampling_of
from unstir.models.diffusion import Diffusion, Sampling
from unstir.nn.start import initialise
from unstir.train.batches import batches
from unstir.train.config import TrainConfig
from unstir.train.loop import Run
from unstir.weights.modelfile import save_model

PLAN, PICTURES, MODEL, LOCK = "run.json", "pictures", "model.safetensors", ".lock"


@dataclass(frozen=True)
class Begun:
    """What run.json holds. data: where the pictures came from, as it was typed."""

    data: str
    prompts: tuple[str, ...]
    sampling: Sampling
    notes: dict[str, Any]
    train: TrainConfig
    model: dict[str, Any]


def exists(folder: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (folder / PLAN).exists()


def free(folder: Path) -> bool:
    """Whether a run may begin here: nothing is there, or only what a beginning that was stopped has left."""
    ours = {LOCK, PICTURES, f"{PICTURES}/{PIXELS}", f"{PICTURES}/{LISTING}"}
    found = (path for path in folder.rglob("*") if not path.name.endswith(".tmp") and not path.name.startswith(".tmp"))
    return all(path.relative_to(folder).as_posix() in ours for path in found)


def write_plan(
    folder: Path,
    model: Diffusion,
    config: TrainConfig,
    *,
    data: str,
    prompts: tuple[str, ...],
    sampling: Sampling,
    notes: Mapping[str, Any],
) -> None:
    """Begin a run: from here on the folder decides, not the command that made it."""
    plan = {
        "data": data,
        "prompts": prompts,
        "sampling": asdict(sampling),
        "notes": dict(notes),
        "train": asdict(config),
        "model": describe(model),
    }
    write_atomic(folder / PLAN, json.dumps(plan, indent=1, ensure_ascii=False, sort_keys=True))


def read_plan(folder: Path) -> Begun:
    """What was decided when the run in this folder began; UserError if that cannot be read."""
    path = folder / PLAN
    try:
        match json.loads(path.read_text(encoding="utf-8")):
            case {
                "data": str() as data,
                "prompts": [*prompts],
                "sampling": dict() as sampling,
                "notes": dict() as notes,
                "train": dict() as train,
                "model": dict() as model,
            } if all(isinstance(prompt, str) for prompt in prompts):
                dials, config = sampling_of(sampling), frozen(TrainConfig, train)
                return Begun(data, tuple(prompts), dials, notes, config, model)
        raise ValueError("something is missing in it")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); begin the run anew in another folder") from None


def open_run(folder: Path, device: str) -> tuple[Run[Diffusion], Begun]:
    """The run in this folder, at its start: `train` then continues it from its checkpoint. UserError if damaged."""
    begun = read_plan(folder)
    try:
        model = build(begun.model)
    except ValueError as error:
        raise UserError(f"{folder / PLAN} describes a model that cannot be built: {error}") from None
    initialise(model, begun.train.seed)
    model.to(device)
    pictures = Pictures.load(folder / PICTURES)
    return Run(folder, model, pictures, begun.train, batches(pictures, model, begun.train)), begun


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; UserError if another one trains in it. A killed process lets go by itself."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {folder}; wait for it, or name another --run") from None
        yield


def export(run: Run[Diffusion], begun: Begun) -> None:
    """Write the run's averaged weights as a model file."""
    notes = begun.notes | {"images_seen": run.images_seen, "images": run.config.images, "data": begun.data}
    save_model(run.folder / MODEL, run.model, run.average.weights, begun.sampling, notes)
