"""A run is a folder: what is in it, and how a run is found there again.

run.json                 what was decided when the run began; never changed after (`run_file`)
pictures/                the pictures as the run sees them, so that it can continue if the originals change
checkpoint.safetensors   everything that changes while training
schedule.json            of a run with a budget: when the clock decided what (`schedule`)
model.safetensors        the averaged weights as a model file: rewritten at every sample grid and at the end
best.safetensors         the best of these, where the run says by which measure
teacher.safetensors      of a run that distils a model: that model
start.safetensors        of a run that fine-tunes a model: that model
log.jsonl, samples/      what to look at
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


def exists(folder: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (folder / RUN_FILE).exists()


def is_free(folder: Path) -> bool:
    """Whether a run may begin here: nothing is there, or only what a beginning that was stopped has left."""
    ours = {LOCK, TEACHER, INITIAL_MODEL, PICTURES, f"{PICTURES}/{PIXELS}", f"{PICTURES}/{LISTING}"}
    found = (path for path in folder.rglob("*") if not path.name.endswith(".tmp") and not path.name.startswith(".tmp"))
    return all(path.relative_to(folder).as_posix() in ours for path in found)


def open_run(folder: Path, device: str) -> tuple[Run[Any], RunFile]:
    """The run in this folder, at its start: `train` then continues it from its checkpoint. UserError if damaged."""
    run_file = read_run_file(folder)
    model = model_at_start(folder, run_file, device)
    return run_of(folder, run_file, model, Pictures.load(folder / PICTURES)), run_file


def run_of(folder: Path, run_file: RunFile, model: Any, pictures: Pictures) -> Run[Any]:
    """The run of this model on these pictures, at its start. UserError for pictures that do not serve it."""
    try:
        source = training(run_file.trained_as).batches(model, pictures, run_file.train, run_file.source)
        return Run(folder, model, pictures, run_file.train, source, run_file.trained_as)
    except ValueError as error:
        raise UserError(f"the pictures in {folder} do not serve its run: {error}") from None


def model_at_start(folder: Path, run_file: RunFile, device: str) -> Any:
    """The model of a run with its starting weights."""
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


def export(run: Run[Any], run_file: RunFile, name: str = MODEL) -> None:
    """Write the run's model file of this name: averaged weights where there are any."""
    notes = dict(run_file.notes) | {
        "images_seen": run.images_seen,
        "images": run.schedule.expected(run.images_seen),
        # The name only: whoever shares a model need not share where its pictures lie.
        "data": Path(run_file.data).name,
    }
    model, weights = run.exported()
    save_model(run.folder / name, model, weights, run_file.settings, notes)
