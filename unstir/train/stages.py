"""Models in several stages: each earlier stage is a run of its own in the folder RUN/stages/NAME.

stages.json, written when the first stage begins, holds what was asked for, so that the command continues with the same
request after it was stopped in whatever stage.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unstir.data.pack_files import LISTING, PIXELS
from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.train import checkpoint, run_folder
from unstir.train.distributed import any_process, barrier, is_first
from unstir.train.kinds import SizeName, training
from unstir.train.recipe import Recipe
from unstir.train.run_file import read_run_file
from unstir.train.run_setup import RunSetup
from unstir.train.schedule import Schedule
from unstir.weights.model_file import find_model, load_kind, notes_of


@dataclass(frozen=True)
class StageFile:
    """The contents of stages.json.

    data: as it was typed.
    kind: of the model that the run trains in the end.
    size: of the networks; None where a recipe says it.
    recipe: its name, or "".
    budget: seconds for all stages, or None.
    seed: of the training configurations.
    given: paths of models that were trained before, by the name of the stage or aid.
    trained: names of the stages to train, in order.
    fractions: the fraction of the budget of each of them.
    """

    data: str
    kind: str
    size: SizeName | None
    recipe: str
    budget: float | None
    seed: int
    given: Mapping[str, str]
    trained: tuple[str, ...]
    fractions: Mapping[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write stages.json."""
        write_atomic(
            folder / run_folder.STAGE_FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)
        )

    def same_request(self, other: "StageFile") -> bool:
        """Whether both were asked for in the same way; the budget may differ."""
        return replace(self, budget=None, fractions={}) == replace(other, budget=None, fractions={})


def read_stage_file(folder: Path) -> StageFile | None:
    """The contents of stages.json in a run folder, or None. UserError where it is damaged."""
    path = folder / run_folder.STAGE_FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return StageFile(**{**values, "trained": tuple(values["trained"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); begin the run anew in another folder") from None


def check_given(kind: str, given: Mapping[str, Path]) -> None:
    """Raise UserError where a kind of model has no use for a given model, before anything is read or written.

    given: paths, by the name of the stage or aid.
    """
    known = training(kind)
    for name, path in given.items():
        if name not in {*known.stages, *known.aids}:
            has = ", ".join(f"--{one}" for one in (*known.stages, *known.aids)) or "none"
            raise UserError(f"{kind} is not built on a model --{name}; those that can be given: {has}")
        aid = known.aids.get(name)
        for other in (aid.instead_of, aid.stage) if aid is not None and name not in known.stages else ():
            if other in given:
                raise UserError(f"--{name} has no use where --{other} is given; omit one of them")
        _load_given(kind, name, path, "cpu")


def _load_given(kind: str, name: str, path: Path, device: str) -> Any:
    known = training(kind)
    if name in known.stages:
        return load_kind(path, known.stages[name], device, torch.float32)
    return known.aids[name].load(path, device)


def new_stage_file(
    setup: RunSetup, recipe: Recipe, name: str, size: SizeName | None, given: Mapping[str, Path]
) -> StageFile:
    """The contents of stages.json of a new run.

    name: of the recipe, or "" for an automatic one.
    given: models that were trained before.
    """
    aids = training(recipe.kind).aids
    replaced = {*given, *(aids[one].instead_of for one in given if one in aids)}
    trained = tuple(stage for stage in recipe.stages if stage not in replaced)
    fractions = {stage: part for stage, part in recipe.fractions.items() if stage in trained}
    paths = {stage: str(path) for stage, path in given.items()}
    return StageFile(setup.data, recipe.kind, size, name, setup.budget, setup.seed, paths, trained, fractions)


@dataclass(frozen=True)
class StageRun:
    """A stage that is to be trained, or resumed.

    name: of the stage.  title: for messages, as in "stage 1 of 2, an autoencoder".
    setup: of its run.
    begin: begins it.
    """

    name: str
    title: str
    setup: RunSetup
    begin: Callable[[RunSetup], None]


def stage_folder(folder: Path, name: str) -> Path:
    """The run folder of a stage."""
    return folder / run_folder.STAGES / name


def unfinished(
    setup: RunSetup, stage_file: StageFile, title: Callable[[str], str], begin: Callable[[RunSetup, str], None]
) -> Iterator[StageRun]:
    """The stages to train before the run itself, those that are finished left out.

    title: (name) -> of the kind of model.
    begin: (setup of the stage, name).
    """
    for number, name in enumerate(stage_file.trained, 1):
        folder = stage_folder(setup.folder, name)
        if any_process(is_finished(folder)):
            continue
        if is_first():
            link_pictures(setup.folder, folder)
        barrier()
        budget = None if stage_file.budget is None else stage_file.budget * stage_file.fractions.get(name, 0.0)
        began = setup.began if number == 1 else time.monotonic()
        own = replace(setup, folder=folder, budget=budget, began=began, seed=stage_file.seed)
        where = f"stage {number} of {len(stage_file.trained) + 1}, {title(name)}"

        def begin_stage(stage_setup: RunSetup, stage: str = name) -> None:
            begin(stage_setup, stage)

        yield StageRun(name, where, own, begin_stage)


def link_pictures(source: Path, folder: Path) -> None:
    """Give a stage the packed pictures of the whole run, as hard links where the file system has them."""
    own = folder / run_folder.PICTURES
    own.mkdir(parents=True, exist_ok=True)
    for name in (PIXELS, LISTING):  # the listing last: without it a pack is incomplete
        target = own / name
        if target.exists():
            continue
        try:
            os.link(source / run_folder.PICTURES / name, target)
        except OSError:
            temporary = target.with_name(f".{name}.{os.getpid()}.tmp")
            shutil.copyfile(source / run_folder.PICTURES / name, temporary)
            os.replace(temporary, target)


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder has been trained to its end and has its model file."""
    if not run_folder.exists(folder) or not (folder / run_folder.MODEL).exists():
        return False
    facts = checkpoint.load_facts(folder)
    if facts is None:
        return False
    schedule = Schedule.load(folder, read_run_file(folder).train)
    return schedule.finished(int(facts["images_seen"]))


def seconds_used(folder: Path) -> float:
    """Seconds that the run in a folder has trained, by its checkpoint."""
    facts = checkpoint.load_facts(folder)
    return 0.0 if facts is None else float(facts.get("seconds", 0.0))


def stage_models(folder: Path, stage_file: StageFile, device: str, stage: str = "") -> dict[str, Any]:
    """The models that a stage is built on, by name, in float32.

    stage: its name; "": the run itself.
    """
    known = training(stage_file.kind)
    found = {
        name: _load_given(stage_file.kind, name, Path(path), device)
        for name, path in stage_file.given.items()
        if (known.aids[name].stage if name in known.aids else "") == stage
    }
    if not stage:
        for name in stage_file.trained:
            found[name] = load_kind(stage_folder(folder, name), known.stages[name], device, torch.float32)
    return found


def stage_notes(folder: Path, stage_file: StageFile) -> dict[str, Any]:
    """What the model file tells of the stages: seconds of training, pictures seen and where a given one came from."""
    notes: dict[str, Any] = {}
    for name in stage_file.trained:
        own = notes_of(find_model(stage_folder(folder, name)))
        notes[name] = {key: own[key] for key in ("images_seen", "seconds") if key in own}
    for name, path in stage_file.given.items():
        if name not in training(stage_file.kind).stages:
            notes[name] = {"name": Path(path).name}
            continue
        own = notes_of(find_model(Path(path)))
        notes[name] = {key: own[key] for key in ("name", "images_seen", "seconds") if key in own}
    return notes
