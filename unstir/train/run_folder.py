"""A run is a folder: what is in it, and how a run is begun there and found again.

run.json                 what was decided when the run began: model, training, prompts, dials; never changed after
pictures/                the pictures as the run sees them, so that it can go on if the originals change
checkpoint.safetensors   everything that changes while training
model.safetensors        the averaged weights as a model file: rewritten at every sample grid and at the end
best.safetensors         the best of these, where the run says by which measure
teacher.safetensors      of a run that tunes a model: that model
start.safetensors        of a run that goes on from a model: that model
log.jsonl, samples/      what to look at
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unstir.data.pictures import LISTING, PIXELS, Pictures
from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.models.build import build_as, dataclass_from, describe, sampling_of
from unstir.models.clip import Clip
from unstir.models.consistency import Consistency
from unstir.models.diffusion import Diffusion, Sampling
from unstir.nn.init import initialise
from unstir.train.batch_sources import Model, batch_source
from unstir.train.config import TrainConfig
from unstir.train.loop import Run
from unstir.train.new_run import copy_weights
from unstir.train.tuning import Tuning, tuned_weights, tuning
from unstir.weights.model_file import load_model, save_model

PLAN, PICTURES, MODEL, BEST, LOCK = "run.json", "pictures", "model.safetensors", "best.safetensors", ".lock"
TEACHER, START = "teacher.safetensors", "start.safetensors"


@dataclass(frozen=True)
class RunFile:
    """What run.json holds. data: where the pictures came from, as it was typed.

    prompts, sampling: of a model that draws.  tuning: of a run that tunes one for few steps.
    started: whether it goes on from the weights of another.
    """

    data: str
    prompts: tuple[str, ...]
    sampling: Sampling
    notes: dict[str, Any]
    train: TrainConfig
    model: dict[str, Any]
    tuning: Tuning | None = None
    started: bool = False


def exists(folder: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (folder / PLAN).exists()


def is_free(folder: Path) -> bool:
    """Whether a run may begin here: nothing is there, or only what a beginning that was stopped has left."""
    ours = {LOCK, TEACHER, START, PICTURES, f"{PICTURES}/{PIXELS}", f"{PICTURES}/{LISTING}"}
    found = (path for path in folder.rglob("*") if not path.name.endswith(".tmp") and not path.name.startswith(".tmp"))
    return all(path.relative_to(folder).as_posix() in ours for path in found)


def write_plan(
    folder: Path,
    model: Diffusion | Clip,
    config: TrainConfig,
    *,
    data: str,
    notes: Mapping[str, Any],
    prompts: tuple[str, ...] = (),
    sampling: Sampling | None = None,
    tuning: Tuning | None = None,
    started: bool = False,
) -> None:
    """Begin a run: from here on the folder decides, not the command that made it.

    model: of a run that tunes, the model that it tunes, which lies in the folder as TEACHER.  started: whether a model
        to begin with lies there as START.
    """
    plan: dict[str, Any] = {
        "data": data,
        "prompts": prompts,
        "sampling": asdict(sampling or Sampling()),
        "notes": dict(notes),
        "train": asdict(config),
        "model": describe(model),
    }
    if tuning is not None:
        plan["tuning"] = asdict(tuning)
    if started:
        plan["started"] = True
    write_atomic(folder / PLAN, json.dumps(plan, indent=1, ensure_ascii=False, sort_keys=True))


def read_plan(folder: Path) -> RunFile:
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
                **rest,
            } if all(isinstance(prompt, str) for prompt in prompts):
                dials, config = sampling_of(sampling), dataclass_from(TrainConfig, train)
                tuned = _tuning(rest.get("tuning"))
                return RunFile(data, tuple(prompts), dials, notes, config, model, tuned, bool(rest.get("started")))
        raise ValueError("something is missing in it")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); begin the run anew in another folder") from None


def _tuning(values: object) -> Tuning | None:
    match values:
        case None:
            return None
        case dict():
            return dataclass_from(Tuning, values)
    raise ValueError(f"{values!r} says nothing about tuning")


def open_run(folder: Path, device: str) -> tuple[Run[Any], RunFile]:
    """The run in this folder, at its start: `train` then continues it from its checkpoint. UserError if damaged."""
    begun = read_plan(folder)
    model = _model(folder, begun, device)
    pictures = Pictures.load(folder / PICTURES)
    try:
        return Run(folder, model, pictures, begun.train, *batch_source(model, pictures, begun.train)), begun
    except ValueError as error:
        raise UserError(f"the pictures in {folder} do not serve its run: {error}") from None


def _model(folder: Path, begun: RunFile, device: str) -> Model:
    """The model of a run with its starting weights."""
    if begun.tuning is not None:
        return tuning(folder / TEACHER, begun.tuning, device)
    try:
        model = build_as(nn.Module, begun.model)
    except ValueError as error:
        raise UserError(f"{folder / PLAN} describes a model that cannot be built: {error}") from None
    assert isinstance(model, Diffusion | Clip)
    initialise(model, begun.train.seed)
    if begun.started:
        _go_on(model, folder / START)
    return model.to(device)


def _go_on(model: Diffusion | Clip, start: Path) -> None:
    """Give the model the weights of that in this file; UserError where it is another one."""
    loaded = load_model(start, dtype=torch.float32).model
    try:
        assert isinstance(model, Diffusion)
        copy_weights(model, loaded)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{start} is not what this run began with: {error}") from None


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
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


def export(run: Run[Any], begun: RunFile, name: str = MODEL) -> None:
    """Write the run's averaged weights as a model file of this name."""
    notes = begun.notes | {"images_seen": run.images_seen, "images": run.config.images, "data": begun.data}
    match run.model:
        case Consistency() as model:
            weights = tuned_weights(model, run.average.weights)
            save_model(run.folder / name, model.student, weights, begun.sampling, notes)
        case model:
            save_model(run.folder / name, model, run.average.weights, begun.sampling, notes)
