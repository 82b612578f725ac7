"""How a run begins: pictures are read, a model is chosen, and run.json is written. The first of several processes
reads and writes; the others wait for it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.cli.progress import bar, duration, say
from unstir.errors import UserError

if TYPE_CHECKING:
    from unstir.data.pictures import Pictures
    from unstir.models.clip import Clip
    from unstir.models.diffusion import Diffusion, Sampling
    from unstir.train.batch_sources import Model
    from unstir.train.config import TrainConfig
    from unstir.train.recipe import ClipRecipe, Recipe
    from unstir.weights.model_file import Loaded


def plan_run(
    data: str, folder: Path, budget: float, *, size: str | None, clip: bool, seed: int, device: str, began: float
) -> None:
    """Look at the data, choose, measure, and write the plan.

    budget: seconds, of which those since `began` are spent.  clip: whether to train a CLIP rather than what draws.
    """
    from unstir.models.diffusion import Diffusion, Sampling
    from unstir.train import auto_clip_recipe as plan_clip
    from unstir.train import auto_recipe as plan
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import is_first
    from unstir.train.new_run import known_words, new_model
    from unstir.train.recipe import Recipe

    on_gpu = device.startswith("cuda")
    letter = (plan_clip.choose_clip_size if clip else plan.choose_size)(size, budget, on_gpu)
    pictures = prepared(folder, lambda: _read(data, folder, budget, on_gpu))
    chosen = plan_clip.clip_recipe_for(pictures, letter) if clip else plan.recipe_for(pictures, letter)
    chosen = replace(chosen, train=replace(chosen.train, seed=seed))
    model = new_model(chosen, pictures).to(device)
    prompts = chosen.prompts if isinstance(chosen, Recipe) else ()
    config, rate = timed(folder, model, pictures, chosen.train, prompts, Sampling(), budget, began)
    if isinstance(model, Diffusion) and model.config.text.length > 64:
        say(f"note: the longest caption makes the model read {model.config.text.length} tokens, which slows it down")
    parameters = sum(p.numel() for p in model.parameters())
    passes = config.images / len(pictures)
    say(
        f"chosen: {chosen.side}×{chosen.side} pixels, {'with' if chosen.channels == 4 else 'without'} transparency; "
        f"{'two encoders' if clip else 'a network'} of {parameters / 1e6:.1f} million parameters (--size {letter}); "
        f"{config.images:,} pictures at {rate:.0f} a second, {passes:.0f} passes over yours"
    )
    if not clip:
        say(expectation(passes, len(pictures)))
    if is_first():
        runfolder.write_plan(
            folder,
            model,
            config,
            data=data,
            prompts=prompts,
            notes={"name": folder.name, "words": known_words(chosen, pictures)},
        )


def follow(data: str, folder: Path, name: str, seed: int, start: Path | None = None) -> None:
    """Begin a run by a named recipe. start: a model to go on from."""
    from unstir import recipes
    from unstir.models.diffusion import Sampling
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import is_first
    from unstir.train.new_run import known_words, model_from, new_model
    from unstir.train.recipe import Recipe

    recipe = recipes.named(name)
    recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    if start is not None and not isinstance(recipe, Recipe):
        raise UserError(f"the recipe {name} trains no model that draws, and so goes on from none; leave out --from")
    pictures = prepared(folder, lambda: _read_for(recipe, data, folder))
    if start is not None:
        assert isinstance(recipe, Recipe)
        model: Diffusion | Clip = model_from(recipe, pictures, _copied(start, folder).model)
    else:
        model = new_model(recipe, pictures)
    say(f"recipe {name}: {recipe.train.images:,} pictures, {recipe.train.images / len(pictures):.0f} passes")
    if is_first():
        runfolder.write_plan(
            folder,
            model,
            recipe.train,
            data=data,
            prompts=recipe.prompts if isinstance(recipe, Recipe) else (),
            sampling=recipe.sampling if isinstance(recipe, Recipe) else Sampling(),
            notes={"name": folder.name, "recipe": name, "words": known_words(recipe, pictures), **recipe.notes},
            started=start is not None,
        )


def plan_further(data: str, start: Path, folder: Path, budget: float, *, seed: int, device: str, began: float) -> None:
    """Copy the model to go on from into the folder, read pictures of its size, measure, and write the plan.

    budget: seconds, of which those since `began` are spent.
    """
    from unstir.train import auto_recipe as plan
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import is_first
    from unstir.train.new_run import known_words, model_from
    from unstir.weights.model_file import find_model, load_model

    shape = load_model(find_model(start)).model.shape
    pictures = prepared(folder, lambda: _read_like(shape, data, folder))
    loaded = _copied(start, folder)
    recipe = plan.recipe_from(loaded.model, loaded.sampling, pictures)
    recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    model = model_from(recipe, pictures, loaded.model).to(device)
    config, rate = timed(folder, model, pictures, recipe.train, recipe.prompts, loaded.sampling, budget, began)
    # What the model knew before it still half knows; what it is shown now comes first.
    words = list(dict.fromkeys([*known_words(recipe, pictures), *loaded.notes.get("words", [])]))
    say(
        f"going on from {start}: {recipe.side}×{recipe.side} pixels, "
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters; {config.images:,} pictures at "
        f"{rate:.0f} a second, {config.images / len(pictures):.0f} passes over yours"
    )
    if is_first():
        runfolder.write_plan(
            folder,
            model,
            config,
            data=data,
            prompts=recipe.prompts,
            sampling=recipe.sampling,
            notes={"name": folder.name, "from": str(start), "words": words},
            started=True,
        )


def _copied(start: Path, folder: Path) -> "Loaded":
    """The model to go on from, after the first process has copied it into the folder."""
    import shutil

    import torch

    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import barrier, is_first
    from unstir.weights.model_file import find_model, load_model

    loaded = load_model(find_model(start), dtype=torch.float32)
    if is_first():
        shutil.copyfile(loaded.path, folder / runfolder.START)
    barrier()
    return loaded


def prepared(folder: Path, read: Callable[[], None]) -> "Pictures":
    """The packed pictures of the folder, after the first process has read them."""
    from unstir.data.pictures import Pictures
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import barrier, is_first

    if is_first():
        read()
    barrier()
    return Pictures.load(folder / runfolder.PICTURES)


def timed(
    folder: Path,
    model: "Model",
    pictures: "Pictures",
    config: "TrainConfig",
    prompts: tuple[str, ...],
    sampling: "Sampling",
    budget: float,
    began: float,
) -> "tuple[TrainConfig, float]":
    """The configuration with as many pictures as the machine can train on in what is left of the budget (seconds).

    Returns how many it trains on in a second, too.
    """
    from unstir.train import auto_recipe as plan
    from unstir.train.batch_sources import batch_source
    from unstir.train.loop import Run

    say("measuring how fast this machine trains …")
    trial = Run(folder, model, pictures, config, *batch_source(model, pictures, config))
    try:
        look = plan.evaluation_seconds(trial, prompts, sampling)
        rate = plan.measured_rate(trial, seconds=min(6.0, budget / 10))
    finally:
        trial.release()
    looks, seconds = plan.split_budget(budget - (time.monotonic() - began), look)
    if rate * seconds < config.batch_size:
        say(f"note: {duration(budget)} is too little for more than a single step; this will take longer, and be poor")
    return plan.with_images(config, int(rate * seconds), looks), rate


def expectation(passes: float, count: int) -> str:
    """What a run of this length gives, judged from runs on icons and on the example pictures."""
    if passes < 30:
        words = "colours and rough shapes, hardly what the words say; a longer --budget or fewer pictures help"
    elif passes < 120:
        words = "clear styles and palettes, simple things recognisable, details blurred"
    else:
        words = "recognisable things; with few pictures, close to the very ones it was trained on"
    return f"expect from {passes:.0f} passes over {count} pictures: {words}"


def _read(data: str, folder: Path, budget: float, on_gpu: bool) -> None:
    """Check the data, choose a size by it and the budget (seconds), and pack it into the folder."""
    from unstir.data.check import check
    from unstir.data.named import open_named
    from unstir.data.packing import pack
    from unstir.data.pictures import Pictures
    from unstir.train import auto_recipe as plan
    from unstir.train import run_folder as runfolder

    found = open_named(data)
    if isinstance(found, Pictures):
        found.save(folder / runfolder.PICTURES)
        say(f"{data}: {len(found)} built-in pictures")
        return
    with bar("looking at pictures", len(found.entries)) as progress:
        report = check(found, lambda done, _: progress(done))
    for line in report.lines():
        say(line)
    side = plan.picture_size(report.suggested_size(), budget, on_gpu)
    if side < report.suggested_size():
        say(f"training at {side} pixels: more takes longer than {duration(budget)} to learn")
    with bar("reading pictures", len(found.entries)) as progress:
        pack(found, side, where=folder / runfolder.PICTURES, progress=lambda done, _: progress(done))


def _read_for(recipe: "Recipe | ClipRecipe", data: str, folder: Path) -> None:
    """Pack what the recipe wants of the data into the folder."""
    from unstir.data.named import open_named
    from unstir.data.pictures import Pictures
    from unstir.train import run_folder as runfolder
    from unstir.train.new_run import pack_for

    found = open_named(data, size=recipe.side)
    count = len(found if isinstance(found, Pictures) else found.entries)
    with bar("reading pictures", count) as progress:
        _, problems = pack_for(found, recipe, folder / runfolder.PICTURES, lambda done, _: progress(done))
    for problem in problems:
        say(f"left out {problem.key}: {problem.what}")


def plan_tuning(data: str, model: Path, folder: Path, budget: float, *, seed: int, device: str, began: float) -> None:
    """Copy the model into the folder, read pictures that it can be tuned on, measure, and write the plan.

    budget: seconds, of which those since `began` are spent.
    """
    import shutil

    from unstir.train import auto_recipe as plan
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import is_first
    from unstir.train.tuning import FEW, Tuning, tuning, tuning_config
    from unstir.weights.model_file import find_model, load_model

    loaded = load_model(find_model(model))
    source = runfolder.read_plan(Path(data)) if runfolder.exists(Path(data)) else None

    def read() -> None:
        _read_like(loaded.model.shape, data, folder)
        shutil.copyfile(loaded.path, folder / runfolder.TEACHER)

    pictures = prepared(folder, read)
    dials = Tuning(loaded.sampling.guidance_scale, loaded.sampling.steps)
    batch_size = plan.batch_size(256 if device.startswith("cuda") else 64, pictures)
    config = tuning_config(batch_size, seed, scenes=source.train.scenes if source is not None else False)
    prompts = source.prompts if source is not None and source.prompts else tuple(plan.sample_prompts(pictures))
    pair = tuning(folder / runfolder.TEACHER, dials, device)
    config, rate = timed(folder, pair, pictures, config, prompts, FEW, budget, began)
    say(
        f"tuning {loaded.path}, which draws in {loaded.sampling.steps} steps with guidance {dials.guidance_scale:g}, "
        f"to draw in {FEW.steps} without: {config.images:,} pictures at {rate:.0f} a second"
    )
    if is_first():
        notes = {**loaded.notes, "name": folder.name, "tuned from": str(model)}
        runfolder.write_plan(
            folder, loaded.model, config, data=data, notes=notes, prompts=prompts, sampling=FEW, tuning=dials
        )


def _read_like(shape: tuple[int, int, int], data: str, folder: Path) -> None:
    """Pack pictures of this shape, (C, S, S), into the folder. data: as for training, or a run folder."""
    from unstir.data.named import open_named
    from unstir.data.packing import pack
    from unstir.data.pictures import Pictures
    from unstir.train import run_folder as runfolder
    from unstir.train.batches import split

    channels, side, _ = shape
    if runfolder.exists(Path(data)):
        every = Pictures.load(Path(data) / runfolder.PICTURES)
        found = every.take(split(len(every), runfolder.read_plan(Path(data)).train)[0])
    else:
        opened = open_named(data, size=side)
        if not isinstance(opened, Pictures):
            with bar("reading pictures", len(opened.entries)) as progress:
                pack(opened, side, channels, folder / runfolder.PICTURES, progress=lambda done, _: progress(done))
            return
        found = opened
    if found.pixels.shape[1:] != (side, side, channels):
        height, width, have = found.pixels.shape[1:]
        raise UserError(
            f"the model draws {side}×{side} pixels with {channels} channels, the pictures of {data} have "
            f"{width}×{height} with {have}; tune it on others"
        )
    found.save(folder / runfolder.PICTURES)
