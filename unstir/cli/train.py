"""unstir train: from a folder of captioned pictures to a model, within a budget of time."""

import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unstir.cli.drawing import checked_device
from unstir.cli.progress import bar, duration, say
from unstir.errors import UserError

if TYPE_CHECKING:
    from unstir.models.diffusion import Diffusion
    from unstir.train.loop import Run
    from unstir.train.runfolder import Begun


def train(
    data: str,
    *,
    run: Path,
    budget: str | None = None,
    size: Literal["s", "m", "l"] | None = None,
    recipe: str | None = None,
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
) -> None:
    """Train a model on DATA in the folder --run; the same command continues a run that was stopped.

    Parameters
    ----------
    data
        A folder of captioned pictures, webdataset shards (.tar), or the built-in sets "digits" and "shapes".
    run
        Folder of the run: checkpoint, samples, log, and the model for `unstir generate --model`.
    budget
        How long to train: 90s, 30m (if left out), 2h. It becomes a number of pictures once, at the beginning.
    size
        Size of the network; left out, the budget decides.
    recipe
        A recipe by name instead of the automatic choice; it brings its own number of pictures.
    seed
        Of the starting weights, the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files beside the log.
    """
    seconds = parse_duration("30m" if budget is None else budget)
    if recipe is not None and (budget is not None or size is not None):
        raise UserError("a --recipe brings its own length and network; leave out --budget and --size, or the recipe")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed must be 0 to {2**32 - 1}, got {seed}")
    began = time.monotonic()
    device = checked_device(device)

    from unstir.train import runfolder

    if runfolder.exists(run):
        opened, begun = runfolder.open_run(run, device)
        if Path(begun.data) != Path(data):
            raise UserError(f"{run} is a run on {begun.data}, not on {data}; continue that one, or name another --run")
        say(f"continuing the run in {run} as it was begun; --budget, --size, --recipe and --seed change nothing now")
    else:
        if run.exists() and not run.is_dir():
            raise UserError(f"--run {run} is a file; name a folder")
        if not runfolder.free(run):
            raise UserError(f"{run} is not empty and holds no run; name another folder with --run")
        if recipe is None:
            _plan(data, run, seconds, size, seed, device, began)
        else:
            _follow(data, run, recipe, seed)
        opened, begun = runfolder.open_run(run, device)
    with runfolder.alone(run):
        _train(opened, begun, tensorboard, shlex.join(["unstir", "train", data, "--run", str(run)]))


def parse_duration(text: str) -> float:
    """Seconds of "90s", "30m", "2h" or a plain number of seconds; UserError for anything else."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {text!r} is no time; write 90s, 30m or 2h")
    return seconds


def _plan(data: str, folder: Path, budget: float, size: str | None, seed: int, device: str, began: float) -> None:
    """Look at the data, choose, measure, and write the plan."""
    from unstir.data.check import check
    from unstir.data.named import open_named
    from unstir.data.pictures import Pictures, pack
    from unstir.train import plan, runfolder
    from unstir.train.batches import batches
    from unstir.train.begin import new_model
    from unstir.train.loop import Run

    found = open_named(data)
    on_gpu = device.startswith("cuda")
    if isinstance(found, Pictures):
        found.save(folder / runfolder.PICTURES)
        pictures = Pictures.load(folder / runfolder.PICTURES)
        say(f"{data}: {len(pictures)} built-in pictures")
    else:
        with bar("looking at pictures", len(found.entries)) as progress:
            report = check(found, lambda done, _: progress(done))
        for line in report.lines():
            say(line)
        side = plan.picture_size(report.suggested_size(), budget, on_gpu)
        if side < report.suggested_size():
            say(f"training at {side} pixels: more takes longer than {duration(budget)} to learn")
        with bar("reading pictures", len(found.entries)) as progress:
            pictures, _ = pack(found, side, where=folder / runfolder.PICTURES, progress=lambda done, _: progress(done))
    letter = plan.dial(size, budget, on_gpu)
    chosen = plan.recipe_for(pictures, letter)
    chosen = replace(chosen, train=replace(chosen.train, seed=seed))
    model = new_model(chosen, pictures).to(device)
    say("measuring how fast this machine trains …")
    grid = plan.seconds_a_grid(model, chosen.prompts, chosen.sampling)
    trial = Run(folder, model, pictures, chosen.train, batches(pictures, model, chosen.train))
    rate = plan.measured_rate(trial, seconds=min(6.0, budget / 10))
    grids, seconds = plan.shares(budget - (time.monotonic() - began), grid)
    config = plan.with_images(chosen.train, int(rate * seconds), grids)
    if rate * seconds < chosen.train.batch_size:
        say(f"note: {duration(budget)} is too little for more than a single step; this will take longer, and be poor")
    if model.config.text.length > 64:
        say(f"note: the longest caption makes the model read {model.config.text.length} tokens, which slows it down")
    net = chosen.network
    parameters = sum(p.numel() for p in model.parameters())
    passes = config.images / len(pictures)
    say(
        f"chosen: {net.size}×{net.size} pixels, {'with' if net.channels == 4 else 'without'} transparency; "
        f"a network of {parameters / 1e6:.1f} million parameters (--size {letter}); "
        f"{config.images:,} pictures at {rate:.0f} a second, {passes:.0f} passes over yours"
    )
    say(expectation(passes, len(pictures)))
    runfolder.write_plan(
        folder,
        model,
        config,
        data=data,
        prompts=chosen.prompts,
        sampling=chosen.sampling,
        notes={"name": folder.name},
    )


def expectation(passes: float, count: int) -> str:
    """What a run of this length gives, judged from runs on icons and on the example pictures."""
    if passes < 30:
        words = "colours and rough shapes, hardly what the words say; a longer --budget or fewer pictures help"
    elif passes < 120:
        words = "clear styles and palettes, simple things recognisable, details blurred"
    else:
        words = "recognisable things; with few pictures, close to the very ones it was trained on"
    return f"expect from {passes:.0f} passes over {count} pictures: {words}"


def _follow(data: str, folder: Path, name: str, seed: int) -> None:
    """Begin a run by a named recipe."""
    import recipes
    from unstir.data.named import open_named
    from unstir.data.pictures import Pictures, pack
    from unstir.train import runfolder
    from unstir.train.begin import chosen, new_model

    recipe = recipes.named(name)
    recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    net = recipe.network
    found = open_named(data, size=net.size)
    if isinstance(found, Pictures):
        found.save(folder / runfolder.PICTURES)
        pictures = Pictures.load(folder / runfolder.PICTURES)
    else:
        source = chosen(found, recipe)
        if not source.entries:
            raise UserError(f"the recipe {name} wants none of the {len(found.entries)} pictures in {data}")
        with bar("reading pictures", len(source.entries)) as progress:
            pictures, problems = pack(
                source,
                net.size,
                net.channels,
                where=folder / runfolder.PICTURES,
                captioner=recipe.captioner,
                progress=lambda done, _: progress(done),
            )
        for problem in [*source.problems, *problems]:
            say(f"left out {problem.key}: {problem.what}")
    model = new_model(recipe, pictures)
    say(f"recipe {name}: {recipe.train.images:,} pictures, {recipe.train.images / len(pictures):.0f} passes")
    runfolder.write_plan(
        folder,
        model,
        recipe.train,
        data=data,
        prompts=recipe.prompts,
        sampling=recipe.sampling,
        notes={"name": folder.name, "recipe": name, **recipe.notes},
    )


def _train(run: "Run[Diffusion]", begun: "Begun", tensorboard: bool, command: str) -> None:
    """Train to the end or to Ctrl-C, showing how it goes."""
    from unstir.train import runfolder
    from unstir.train.loop import Diverged, train
    from unstir.train.samples import sampler_grid

    grid = sampler_grid(begun.prompts, begun.sampling)

    def sample(run: "Run[Diffusion]") -> None:
        grid(run)
        runfolder.export(run, begun)

    told = time.monotonic()
    with _interrupted() as stop, bar("training", run.config.images) as progress:
        try:
            for now in train(run, sample=sample, stop=stop, tensorboard=tensorboard):
                words = f"loss {now.loss:.3f}, {now.rate:.0f} pictures/s"
                progress(now.images_seen, words)
                if now.event == "log" and not progress.shown and time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"{now.images_seen:,} of {now.images:,}: {words}, {duration(now.seconds_left)} left")
        except Diverged as error:
            raise UserError(str(error)) from None
        except ValueError as error:
            raise UserError(f"this run cannot go on: {error}") from None
    if run.images_seen < run.config.images:
        runfolder.export(run, begun)
        say(
            f"stopped after {run.images_seen:,} of {run.config.images:,} pictures; everything is saved. "
            f"To go on: {command}"
        )
        return
    if not (run.folder / runfolder.MODEL).exists():
        runfolder.export(run, begun)
    say(f"done: {run.folder / runfolder.MODEL}")
    say("try: " + shlex.join(["unstir", "generate", begun.prompts[0], "--model", str(run.folder)]))


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed; a second Ctrl-C stops at once, as ever."""
    pressed = False

    def press(_signal: int, _frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        say("\nstopping after this step …")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
