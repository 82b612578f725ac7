"""`unstir.train`: training as a function."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir import recipes
from unstir.durations import parse_duration
from unstir.errors import UserError
from unstir.models.paradigms import names, paradigm
from unstir.request import checked_device, checked_seed
from unstir.train.kinds import SizeName
from unstir.train.loop import Progress
from unstir.train.recipe import Recipe
from unstir.train.run_setup import RunSetup
from unstir.train.session import Choice, clip_measure, exclusive_run, open_or_begin, train_run
from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, load_kind, resolve_default

if TYPE_CHECKING:
    from unstir.interop.clip import LoadedClip
    from unstir.model import Model


class Stopped(Exception):
    """Training was stopped before there is a model: in an earlier stage."""


def train(
    data: str | Path,
    run: str | Path,
    *,
    budget: str | float = "30m",
    kind: str = "diffusion",
    size: SizeName | None = None,
    recipe: str | Recipe | None = None,
    start: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    eval_clip: str | Path | None = None,
    stages: Mapping[str, str | Path] | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> "Model | LoadedClip":
    """Train a model on captioned pictures in the folder `run`, or continue the run that is there.

    data: a folder of captioned pictures, webdataset shards, or a built-in set.
    budget: how long this call may take, "5m" or seconds.
    kind, size: what to train, as `unstir train --help` says.
    recipe: a name or a `Recipe` in place of the automatic choice; it brings its own kind and number of pictures.
    start: a model to fine-tune.
    seed: of the starting weights, the order of the pictures, and the noise.
    tensorboard: write TensorBoard files beside the log.
    eval_clip: a CLIP that scores a few drawn pictures at each evaluation, into the log.
    stages: models that were trained before, such as {"autoencoder": "runs/ae"}; the others are trained first.
    report: called with every line of the log.
    stop: asked after every step; when true the run is saved.
    Returns the model so far, ready to draw, or the CLIP, autoencoder or classifier.
    Raises UserError for what cannot be, and Stopped where `stop` ended it in an earlier stage.
    """
    began = time.monotonic()
    seconds = parse_duration(budget) if isinstance(budget, str) else float(budget)
    if not 0 < seconds < float("inf"):
        raise UserError(f"budget must be a number of seconds above 0, got {budget}")
    if kind not in names():
        raise UserError(f"there is no kind of model {kind!r}; there are: {', '.join(names())}")
    device, folder = checked_device(device), Path(run)
    by_recipe: tuple[str, Recipe] | None = None
    if isinstance(recipe, str):
        by_recipe = recipe, recipes.named_recipe(recipe)
    elif recipe is not None:
        by_recipe = "of your own", recipe
    first = None if start is None else resolve_default(Path(start), DEFAULT)
    setup = RunSetup(str(data), folder, device, None if by_recipe else seconds, began, checked_seed(seed))
    given = {name: Path(path) for name, path in (stages or {}).items()}
    choice = Choice(by_recipe, first, kind, size, given)
    for stage in choice.stages(setup):
        opened, run_file = open_or_begin(stage.setup, stage.begin)
        with exclusive_run(stage.setup.folder):
            for progress in train_run(opened, run_file, stage.setup, stop=stop, tensorboard=tensorboard):
                if report is not None:
                    report(progress)
        if not opened.schedule.finished(opened.images_seen):
            raise Stopped(f"stopped in {stage.title}; everything is saved, and the same call continues")
        setup = replace(setup, began=time.monotonic())
    opened, run_file = open_or_begin(setup, choice.begin)
    with exclusive_run(folder):
        measure = None
        if eval_clip is not None:
            measure = clip_measure(opened, run_file, resolve_default(Path(eval_clip), DEFAULT_CLIP), device)
        for progress in train_run(opened, run_file, setup, measure=measure, stop=stop, tensorboard=tensorboard):
            if report is not None:
                report(progress)
    result: Model | LoadedClip = _result(folder, opened.kind, device)
    return result


def _result(run: Path, kind: str, device: str) -> Any:
    if kind == "clip":
        from unstir.interop.clip import load_any_clip

        return load_any_clip(run, device)
    if paradigm(kind).settings is None:
        return load_kind(run, kind, device)
    from unstir.model import Model

    return Model(run, device)
