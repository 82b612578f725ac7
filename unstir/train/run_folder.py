"""The files of a run, and opening a run from them.

run.json                 the configuration of the run; never changed after its beginning (`run_file`)
pictures/                the pictures as they are trained on, so that a run can resume if the originals change
checkpoint.safetensors   everything that changes while training
schedule.json            of a run with a budget: the decisions of its clock (`schedule`)
model.safetensors        the averaged weights as a model file, rewritten at every sample grid and at the end
best.safetensors         the best of these, if the configuration names a metric for it
teacher.safetensors      of a distillation run: the teacher
start.safetensors        of a fine-tuning run: the initial model; of a model in stages: with the weights of its stages
perceptual.safetensors   of an autoencoder: the CLIP of its perceptual distance
stages.json, stages/     of a model in stages: what was asked for, and the runs of the earlier stages (`stages`)
log.jsonl, samples/      losses, metrics and sample grids
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unstir.data.pictures import LISTING, PIXELS, Pictures
from unstir.errors import UserError
from unstir.nn.init import initialise
from unstir.train.distillation import TEACHER
from unstir.train.kinds import training
from unstir.train.new_run import copy_weights
from unstir.train.run import Run
from unstir.train.run_file import NAME as RUN_FILE
from unstir.train.run_file import RunFile, read_run_file
from unstir.weights.model_file import load_model, save_model

PICTURES, MODEL, BEST, LOCK = "pictures", "model.safetensors", "best.safetensors", ".lock"
INITIAL_MODEL = "start.safetensors"
PERCEPTUAL = "perceptual.safetensors"
STAGES, STAGE_FILE = "stages", "stages.json"


def exists(folder: Path) -> bool:
    """Whether there is a run in this folder."""
    return (folder / RUN_FILE).exists()


def is_free(folder: Path) -> bool:
    """Whether a run may begin here: the folder holds nothing, or only files of a beginning that was interrupted."""
    ours = {
        LOCK,
        TEACHER,
        INITIAL_MODEL,
        PERCEPTUAL,
        STAGE_FILE,
        PICTURES,
        f"{PICTURES}/{PIXELS}",
        f"{PICTURES}/{LISTING}",
    }

    def is_ours(path: Path) -> bool:
        own = path.relative_to(folder)
        latents = own.parent.as_posix() == PICTURES and own.name.startswith(("latents-", "codes-"))
        return own.as_posix() in ours or own.parts[0] == STAGES or latents

    found = (path for path in folder.rglob("*") if not path.name.endswith(".tmp") and not path.name.startswith(".tmp"))
    return all(map(is_ours, found))


def open_run(folder: Path, device: str) -> tuple[Run[Any], RunFile]:
    """The run in this folder with its initial weights; `training_loop` loads its checkpoint. UserError if damaged."""
    run_file = read_run_file(folder)
    model = model_at_start(folder, run_file, device)
    return run_of(folder, run_file, model, Pictures.load(folder / PICTURES)), run_file


def run_of(folder: Path, run_file: RunFile, model: Any, pictures: Pictures) -> Run[Any]:
    """A run of this model on these pictures, with its initial weights. UserError for pictures that do not fit it."""
    try:
        source = training(run_file.trained_as).batches(model, pictures, run_file.train, run_file.source)
        return Run(folder, model, pictures, run_file.train, source, run_file.trained_as)
    except ValueError as error:
        raise UserError(f"the pictures in {folder} do not fit its run: {error}") from None


def model_at_start(folder: Path, run_file: RunFile, device: str) -> Any:
    """The model of a run with its initial weights. UserError where its description or its initial model is damaged."""
    known = training(run_file.trained_as)
    try:
        model = known.begin(run_file.model, run_file.options, folder, device)
    except ValueError as error:
        raise UserError(f"{folder / RUN_FILE} describes a model that cannot be built: {error}") from None
    if known.own_weights:
        return model
    initialise(model, run_file.train.seed)
    if run_file.started:
        start = folder / INITIAL_MODEL
        try:
            copy_weights(model, load_model(start, dtype=torch.float32).model)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{start} is not what this run was initialised from: {error}") from None
    return model.to(device)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock the folder for this process; UserError if another one trains in it. A killed process frees its lock."""
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


def export(run: Run[Any], run_file: RunFile, name: str = MODEL) -> None:
    """Write a model file of the run, with the averaged weights where there are any.

    name: of the file.
    """
    notes = dict(run_file.notes) | {
        "images_seen": run.images_seen,
        "images": run.schedule.expected(run.images_seen),
        # The name only: a shared model should not contain paths of the machine that it was trained on.
        "data": Path(run_file.data).name,
    }
    if run.config.budget is not None:
        notes["seconds"] = round(run.seconds, 1)
    model, weights = run.exported()
    save_model(run.folder / name, model, weights, run_file.settings, notes)
