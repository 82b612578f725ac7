"""Beginning a run: read the pictures, build the model, and write run.json. One function for each way to begin.

Of several processes the first one reads and writes; the others wait for it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.description import describe
from unstir.models.diffusion import Diffusion
from unstir.models.paradigms import paradigm
from unstir.nn.init import initialise
from unstir.settings import Settings
from unstir.train import auto_recipe, distillation, run_folder
from unstir.train.distributed import barrier, is_first
from unstir.train.kinds import SizeName, held_out_pictures, training
from unstir.train.measure_rate import with_estimated_images
from unstir.train.new_run import known_words, model_from, new_model
from unstir.train.read_data import read_for_budget, read_for_model, read_for_recipe, read_pictures
from unstir.train.recipe import Recipe
from unstir.train.run_file import RunFile, read_run_file
from unstir.train.run_setup import RunSetup
from unstir.weights.model_file import Loaded, find_model, load_model, save_model

LONG_CAPTION = 64
"""Tokens; a model that reads more is noticeably slower, and the user is told."""


def automatic_recipe(
    setup: RunSetup, kind: str = "diffusion", size: SizeName | None = None
) -> tuple[Recipe, Pictures, SizeName]:
    """A recipe chosen from the data, the machine and the budget, the pictures of the run, and the size of the network.

    kind: of the model (`train.kinds`).
    size: of the network; None: what the budget can train.
    """
    known = training(kind)
    chosen_size = known.choose_size(size, setup.seconds, setup.on_gpu)
    pictures = read_pictures(setup, lambda: read_for_budget(setup))
    try:
        recipe = known.recipe(pictures, chosen_size).with_train(seed=setup.seed, budget=setup.budget)
    except ValueError as error:
        raise UserError(str(error)) from None
    return recipe, pictures, chosen_size


def begin_automatic(
    setup: RunSetup,
    kind: str = "diffusion",
    size: SizeName | None = None,
    models: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Begin a run whose model and settings are chosen from the data, the machine and the budget.

    kind, size: as for `automatic_recipe`.
    models: of the earlier stages, by name.
    notes: for the model file.
    """
    recipe, pictures, chosen_size = automatic_recipe(setup, kind, size)
    begin_estimated(setup, recipe, pictures, f" (--size {chosen_size})", models, notes)


def begin_estimated(
    setup: RunSetup,
    recipe: Recipe,
    pictures: Pictures,
    size: str = "",
    models: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Begin a run whose length is decided by the budget of `setup`.

    pictures: of the run, in its folder.
    size: of the network, for the message.
    models, notes: as for `begin_automatic`.
    """
    known = training(recipe.kind)
    recipe = _fitted(recipe, models).with_train(seed=setup.seed, budget=setup.budget)
    model, trained = _model_to_train(setup, recipe, pictures, models)
    run_file = _run_file(setup, recipe, model, pictures)
    run_file = replace(run_file, notes={**run_file.notes, **(notes or {})}, started=_built_on(recipe, models))
    run_file, rate = with_estimated_images(setup, run_file, trained, pictures)
    length = getattr(getattr(model.config, "text", None), "length", 0)
    if isinstance(model, Diffusion) and length > LONG_CAPTION:
        setup.reporter.say(f"note: the longest caption has {length} tokens; long captions slow the model down")
    channels, side, _ = recipe.shape
    setup.reporter.say(
        f"chosen: {paradigm(recipe.kind).title}, {side}×{side} pixels, "
        f"{'with' if channels == 4 else 'without'} transparency, "
        f"{_millions(model)} million parameters{size}; {_estimate(run_file, pictures, rate)}"
    )
    if known.expectation:
        setup.reporter.say(expectation(run_file.train.images / len(pictures), len(pictures)))
    _write(setup, run_file)


def begin_recipe(
    setup: RunSetup,
    recipe: Recipe,
    name: str,
    start: Path | None = None,
    models: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Begin a run from a recipe.

    name: of the recipe, for messages and notes.
    start: a model to fine-tune; None: new weights.
    models, notes: as for `begin_automatic`.
    """
    recipe = _fitted(recipe, models).with_train(seed=setup.seed)
    if start is not None and paradigm(recipe.kind).settings is None:
        raise UserError(f"the recipe {name} trains a model that draws no pictures and cannot fine-tune; omit --from")
    pictures = read_pictures(setup, lambda: read_for_recipe(setup, recipe))
    if start is None:
        model, _ = _model_to_train(setup, recipe, pictures, models)
    else:
        model = model_from(recipe, pictures, _copied(setup, start, run_folder.INITIAL_MODEL).model)
    images = recipe.train.images
    setup.reporter.say(f"recipe {name}: {images:,} pictures, {images / len(pictures):.0f} passes")
    run_file = _run_file(setup, recipe, model, pictures)
    every = {"name": setup.folder.name, "recipe": name, **run_file.notes, **recipe.notes, **(notes or {})}
    _write(setup, replace(run_file, notes=every, started=start is not None or _built_on(recipe, models)))


def _fitted(recipe: Recipe, models: Mapping[str, Any] | None) -> Recipe:
    """The recipe with its configuration fitted to the models of the earlier stages."""
    try:
        return training(recipe.kind).with_stages(recipe, models) if models else recipe
    except ValueError as error:
        raise UserError(f"a model that was trained before does not fit: {error}") from None


def _built_on(recipe: Recipe, models: Mapping[str, Any] | None) -> bool:
    """Whether the weights of a new run are partly those of other models."""
    return bool(models and training(recipe.kind).stages)


def _model_to_train(
    setup: RunSetup, recipe: Recipe, pictures: Pictures, models: Mapping[str, Any] | None
) -> tuple[Any, Any]:
    """The new model of a run, and what is trained: the model itself, or with what is needed to train it only.

    With models of earlier stages, the initial weights are written to the run folder, and the batches prepared.
    """
    known = training(recipe.kind)
    model = new_model(recipe, pictures, models)
    if models:
        known.adopt(model, models)
        if is_first():
            known.keep(setup.folder, models)
        barrier()
    model = model.to(setup.device)
    if known.prepare is not None:
        with setup.reporter.stage("encoding pictures", len(pictures)) as progress:
            known.prepare(model, pictures, lambda done, _total: progress(done))
    if _built_on(recipe, models):
        if is_first():
            save_model(setup.folder / run_folder.INITIAL_MODEL, model, dtype=torch.float32)
        barrier()
    if not recipe.options:
        return model, model
    trained = known.begin(describe(model), recipe.options, setup.folder, setup.device)
    initialise(trained, recipe.train.seed)
    return model, trained.to(setup.device)


def begin_fine_tuning(setup: RunSetup, start: Path) -> None:
    """Begin a run that fine-tunes a model on pictures of its size.

    start: the model; it is copied into the run folder.
    """
    shape = load_model(find_model(start)).model.shape
    pictures = read_pictures(setup, lambda: read_for_model(setup, shape))
    loaded = _copied(setup, start, run_folder.INITIAL_MODEL)
    recipe = Recipe(
        model=loaded.model.config,
        train=replace(auto_recipe.fine_tuning_config(pictures), seed=setup.seed, budget=setup.budget),
        prompts=tuple(auto_recipe.sample_prompts(pictures)),
        settings=loaded.settings,
    )
    model = model_from(recipe, pictures, loaded.model).to(setup.device)
    run_file = _run_file(setup, recipe, model, pictures)
    # The words of the new captions come first: the model may forget some of the earlier ones.
    words = list(dict.fromkeys([*run_file.notes["words"], *loaded.notes.get("words", [])]))
    run_file = replace(run_file, notes={"name": setup.folder.name, "from": start.name, "words": words}, started=True)
    run_file, rate = with_estimated_images(setup, run_file, model, pictures)
    side = shape[1]
    setup.reporter.say(
        f"fine-tuning {start}: {side}×{side} pixels, {_millions(model)} million parameters; "
        f"{_estimate(run_file, pictures, rate)}"
    )
    _write(setup, run_file)


def begin_distillation(setup: RunSetup, teacher: Path) -> None:
    """Begin a run that distils a diffusion model to few steps, on pictures of its size.

    teacher: the model; it is copied into the run folder.
    """
    loaded = load_model(find_model(teacher))
    if loaded.kind.name != "diffusion":
        raise UserError(f"{teacher} is {loaded.title}; only a diffusion model is distilled to few steps")
    source = read_run_file(Path(setup.data)) if run_folder.exists(Path(setup.data)) else None
    pictures = read_pictures(setup, lambda: read_for_model(setup, loaded.model.shape))
    _copied(setup, teacher, distillation.TEACHER)
    settings = loaded.settings
    options = distillation.DistillationOptions(settings.guidance_scale, settings.steps)
    batch_size = auto_recipe.batch_size(256 if setup.on_gpu else 64, pictures)
    prompts = source.prompts if source is not None and source.prompts else auto_recipe.sample_prompts(pictures)
    run_file = RunFile(
        data=setup.data,
        train=replace(distillation.distillation_config(batch_size, setup.seed), budget=setup.budget),
        model=describe(loaded.model),
        notes={**loaded.notes, "name": setup.folder.name, "distilled from": teacher.name},
        prompts=tuple(prompts),
        settings=distillation.FEW_STEPS,
        kind=distillation.KIND,
        options=asdict(options),
        source=source.source if source is not None else None,
    )
    pair = distillation.distillation(setup.folder / distillation.TEACHER, options, setup.device)
    run_file, rate = with_estimated_images(setup, run_file, pair, pictures)
    setup.reporter.say(
        f"distilling {loaded.path}, which draws in {settings.steps} steps with guidance {settings.guidance_scale:g}, "
        f"to {distillation.FEW_STEPS.steps} steps without: {_estimate(run_file, pictures, rate)}"
    )
    _write(setup, run_file)


def expectation(passes: float, count: int) -> str:
    """What to expect of a run of this length, judged from runs on icons and on the example pictures.

    passes: over the data set.
    count: pictures in it.
    """
    if passes < 30:
        words = "colours and rough shapes that hardly match the captions; use a longer --budget or fewer pictures"
    elif passes < 120:
        words = "clear styles and palettes, simple things recognisable, details blurred"
    else:
        words = "recognisable things; with few pictures, close to copies of the training pictures"
    return f"expect from {passes:.0f} passes over {count} pictures: {words}"


def _copied(setup: RunSetup, model: Path, name: str) -> Loaded[Settings]:
    """Load a model after the first process has copied its file into the run folder under this name."""
    loaded = load_model(find_model(model), dtype=torch.float32)
    if is_first():
        setup.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loaded.path, setup.folder / name)
    barrier()
    return loaded


def _run_file(setup: RunSetup, recipe: Recipe, model: Any, pictures: Pictures) -> RunFile:
    """The contents of run.json; the number of pictures may still be estimated."""
    settings = paradigm(recipe.kind).settings
    prompts = recipe.prompts
    if not prompts and settings is not None:
        prompts = tuple(auto_recipe.sample_prompts(pictures))
    return RunFile(
        data=setup.data,
        train=recipe.train,
        model=describe(model),
        notes={"name": setup.folder.name, "words": known_words(recipe, pictures)},
        prompts=prompts,
        settings=recipe.settings or (settings() if settings is not None else None),
        source=recipe.source,
        kind=recipe.kind if recipe.options else "",
        options=recipe.options,
    )


def _write(setup: RunSetup, run_file: RunFile) -> None:
    """Write run.json. Its notes list the held-out pictures, for `evaluate`."""
    if not is_first():
        return
    held = held_out_pictures(Pictures.load(setup.folder / run_folder.PICTURES), run_file.train).keys
    notes = dict(run_file.notes)
    if held and "held_out" not in notes:
        notes["held_out"] = held
    replace(run_file, notes=notes).write(setup.folder)


def _estimate(run_file: RunFile, pictures: Pictures, rate: float) -> str:
    images = run_file.train.images
    return f"about {images:,} pictures at {rate:.0f} a second, {images / len(pictures):.0f} passes over the data"


def _millions(model: Any) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}"
