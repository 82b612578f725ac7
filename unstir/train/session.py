"""A whole training run: begin or resume it, train, write the model file. Used by the commands and `unstir.train`."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.generative import GenerativeModel
from unstir.models.paradigms import paradigm
from unstir.train import begin as beginnings
from unstir.train import loop, run_folder
from unstir.train.distributed import any_process, barrier, is_first
from unstir.train.kinds import SizeName, held_out_pictures, training
from unstir.train.loop import Diverged, Progress
from unstir.train.read_data import read_for_recipe, read_pictures
from unstir.train.recipe import Recipe
from unstir.train.run import Run
from unstir.train.run_file import RunFile, read_run_file
from unstir.train.run_setup import RunSetup
from unstir.train.samples import save_preview
from unstir.train.stages import (
    StageFile,
    StageRun,
    check_given,
    new_stage_file,
    read_stage_file,
    seconds_used,
    stage_folder,
    stage_models,
    stage_notes,
    unfinished,
)

Measure = Callable[[Run[Any]], Mapping[str, float]]

SCORED_PICTURES = 16
"""Pictures that are drawn and scored at each evaluation with --eval-clip."""


@dataclass(frozen=True)
class Choice:
    """What to train: a recipe, a model to fine-tune, or else an automatic choice.

    recipe: its name, and the recipe.
    start: a model to fine-tune.
    kind, size: of the automatic choice.
    given: models that were trained before, by the name of the stage that they replace, or of the aid.
    """

    recipe: tuple[str, Recipe] | None = None
    start: Path | None = None
    kind: str | None = None
    size: SizeName | None = None
    given: Mapping[str, Path] = field(default_factory=dict)

    @property
    def trained_kind(self) -> str:
        """The kind of model; "diffusion" where nothing says another."""
        return self.recipe[1].kind if self.recipe is not None else self.kind or "diffusion"

    def stages(self, setup: RunSetup) -> Iterator[StageRun]:
        """The earlier stages that are still to be trained, in order; none where the kind of model has none.

        UserError where models are given that the kind does not have.
        """
        in_stages = self.start is None and training(self.trained_kind).stages
        if any_process(run_folder.exists(setup.folder)) or not (in_stages or self.given):
            return
        check_given(self.trained_kind, self.given)
        if is_first():
            _check_free(setup.folder)
        recipe = self._planned(setup)
        stage_file = read_stage_file(setup.folder)
        assert stage_file is not None

        def title(name: str) -> str:
            return paradigm(recipe.stages[name].kind).title

        def begin(stage_setup: RunSetup, name: str) -> None:
            own = recipe.stages[name]
            pictures = Pictures.load(stage_setup.folder / run_folder.PICTURES)
            models = stage_models(setup.folder, stage_file, setup.device, name)
            if stage_setup.budget is None:
                beginnings.begin_recipe(stage_setup, own, f"{stage_file.recipe} ({name})", models=models)
            else:
                beginnings.begin_estimated(stage_setup, own, pictures, models=models)

        yield from unfinished(setup, stage_file, title, begin)

    def _planned(self, setup: RunSetup) -> Recipe:
        """The recipe of the whole run, after its pictures were packed and stages.json written.

        A run that was begun before keeps its budget, seed and size; the options of this command are ignored.
        """
        found = read_stage_file(setup.folder)
        if found is not None:
            setup = replace(setup, budget=found.budget, seed=found.seed)
        size: SizeName | None = None
        if self.recipe is not None:
            name, recipe = self.recipe
            recipe = recipe.with_train(seed=setup.seed)
            read_pictures(setup, lambda: read_for_recipe(setup, recipe))
        else:
            name = ""
            wanted = self.size if found is None else found.size
            recipe, _, size = beginnings.automatic_recipe(setup, self.trained_kind, wanted)
        asked = new_stage_file(setup, recipe, name, size, self.given)
        if is_first():
            if found is None:
                asked.write(setup.folder)
            elif not found.same_request(asked):
                raise UserError(
                    f"{setup.folder} was begun with another kind, recipe, data or stages; give the same ones, or name "
                    "another --run"
                )
        barrier()
        return recipe

    def begin(self, setup: RunSetup) -> None:
        """Read the pictures and write run.json. The earlier stages must be trained."""
        models, notes = {}, {}
        stage_file = read_stage_file(setup.folder) if self.start is None else None
        if stage_file is not None:
            models = stage_models(setup.folder, stage_file, setup.device)
            notes = {"stages": stage_notes(setup.folder, stage_file)}
            setup = _after_stages(setup, stage_file)
        if self.recipe is not None:
            name, recipe = self.recipe
            beginnings.begin_recipe(setup, recipe, name, self.start, models, notes)
        elif self.start is not None:
            beginnings.begin_fine_tuning(setup, self.start)
        else:
            size = self.size if stage_file is None else stage_file.size
            beginnings.begin_automatic(setup, self.kind or "diffusion", size, models, notes)


def _after_stages(setup: RunSetup, stage_file: StageFile) -> RunSetup:
    """The setup of the run itself: the budget is what its stages have left, and begins when they end."""
    setup = replace(setup, seed=stage_file.seed)
    if stage_file.budget is None:
        return setup
    used = sum(seconds_used(stage_folder(setup.folder, name)) for name in stage_file.trained)
    # Stages that ran over do not take all of it.
    least = stage_file.budget * (1 - sum(stage_file.fractions.values())) / 2
    return replace(setup, budget=max(stage_file.budget - used, least))


def open_or_begin(setup: RunSetup, begin: Callable[[RunSetup], None]) -> tuple[Run[Any], RunFile]:
    """Open the run in the folder; if there is none, begin it first.

    begin: begins the run.
    UserError where the folder holds something else, or a run on other data.
    """
    folder = setup.folder
    if any_process(run_folder.exists(folder)):
        before = read_run_file(folder).data
        if Path(before) != Path(setup.data):
            raise UserError(
                f"{folder} is a run on {before}, not on {setup.data}; continue that one, or name another --run"
            )
        setup.reporter.say(f"resuming the run in {folder}; the other options are ignored")
    else:
        if is_first():
            _check_free(folder)
        begin(setup)
        barrier()
    return run_folder.open_run(folder, setup.device)


def _check_free(folder: Path) -> None:
    """Raise UserError where no run can begin in the folder."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run {folder} is a file; name a folder")
    if not run_folder.is_free(folder):
        raise UserError(f"{folder} is not empty and holds no run; name another folder with --run")


def exclusive_run(folder: Path) -> AbstractContextManager[None]:
    """Lock the folder for the processes of this run; UserError if another run trains in it."""
    return run_folder.exclusive(folder) if is_first() else nullcontext()


def train_run(
    run: Run[Any],
    run_file: RunFile,
    setup: RunSetup,
    *,
    measure: Measure | None = None,
    stop: Callable[[], bool] = lambda: False,
    tensorboard: bool = False,
) -> Iterator[Progress]:
    """Train the run to its end or until `stop`, and write its model file.

    setup: tells when the command began, for the budget.
    measure: from `clip_measure`, or None.
    stop: called after every step; true ends training.
    tensorboard: write TensorBoard files too.
    Yields a Progress at every log line.
    UserError where training diverges, or the run does not match its folder.
    """

    def sample(run: Run[Any]) -> None:
        save_preview(run, run_file)
        run_folder.export(run, run_file)

    def keep(run: Run[Any]) -> None:
        run_folder.export(run, run_file, run_folder.BEST)

    used = time.monotonic() - setup.began
    try:
        yield from loop.training_loop(
            run, sample=sample, measure=measure, keep=keep, stop=stop, tensorboard=tensorboard, used=used
        )
    except Diverged as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"this run cannot continue: {error}") from None
    finished = run.schedule.finished(run.images_seen)
    if is_first() and (not finished or not (run.folder / run_folder.MODEL).exists()):
        run_folder.export(run, run_file)


def clip_measure(run: Run[Any], run_file: RunFile, path: Path, device: str) -> Measure:
    """A function that scores drawn pictures with a CLIP; their captions are held-out ones if there are any.

    run_file: gives the settings to draw with.
    path: the CLIP, a model file or a run folder.
    UserError where the run's model draws nothing, or the CLIP cannot read these captions.
    """
    from unstir.evaluate.run.quick import quick_evaluation
    from unstir.weights.model_file import find_model, load_clip

    model: Any = run.model.exported()
    if not isinstance(model, GenerativeModel):
        raise UserError("--eval-clip scores drawn pictures, and the model of this run draws none; omit it")
    clip = load_clip(find_model(path), device)
    held = held_out_pictures(run.pictures, run.config)
    pictures = held if len(held) > 1 else run.pictures
    rows = range(0, len(pictures), max(1, len(pictures) // SCORED_PICTURES))[:SCORED_PICTURES]
    try:
        clip.tokenize([pictures.captions[row][0] for row in rows])
    except ValueError as error:
        raise UserError(f"{path} cannot score these pictures: {error}") from None

    def measure(_: Run[Any]) -> Mapping[str, float]:
        found = quick_evaluation(model, pictures, clip, rows, run_file.settings)
        return {"CLIP score": found.clip_score, "CLIP score, real": found.ceiling, "KID": found.kid}

    return measure
