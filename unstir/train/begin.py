"""How a run begins: pictures are read, a model is chosen, and run.json is written.

Of several processes the first one reads and writes; the others wait for it.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from unstir.data.built_in import open_data
from unstir.data.entry import Source
from unstir.data.packing import check_and_pack, pack
from unstir.data.pictures import Pictures
from unstir.data.report import problem_lines
from unstir.data.sample import sample_check, spread_rows
from unstir.durations import duration
from unstir.errors import UserError
from unstir.models.description import describe
from unstir.models.diffusion import Diffusion
from unstir.models.paradigms import paradigm
from unstir.settings import Settings
from unstir.train import auto_recipe, distillation, run_folder
from unstir.train.batches import split
from unstir.train.config import TrainConfig
from unstir.train.distributed import any_process, barrier, is_first
from unstir.train.kinds import Preview, SizeName, held_out_pictures, training
from unstir.train.new_run import known_words, model_from, new_model, pack_for
from unstir.train.recipe import Recipe
from unstir.train.run import Run
from unstir.train.run_file import RunFile, read_run_file
from unstir.weights.model_file import Loaded, find_model, load_model

READING_SHARE = 0.4
"""The share of the budget that reading the pictures may take."""


class Reporter(Protocol):
    """Who is told what goes on."""

    def say(self, sentence: str) -> None: ...

    def stage(self, what: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """Some work of this size; yields a function that takes how much of it is done."""
        ...


class Silent:
    """A reporter for whoever does not want to know."""

    def say(self, sentence: str) -> None: ...

    @contextmanager
    def stage(self, what: str, total: float) -> Iterator[Callable[[float], None]]:  # noqa: ARG002
        yield lambda _done: None


@dataclass(frozen=True)
class Beginning:
    """What is known of a run before its pictures are read.

    data: a folder, shards, a built-in set, or for distillation also a run folder.
    folder: of the run.
    device: of this process.
    budget: seconds, or None where a recipe says how many pictures.
    began: when the command began, by time.monotonic.
    """

    data: str
    folder: Path
    device: str
    budget: float | None = None
    began: float = 0.0
    seed: int = 0
    reporter: Reporter = field(default_factory=Silent)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def seconds(self) -> float:
        """The budget; for whoever asks for one where there is none, an hour."""
        return self.budget or 3600.0


def begin_automatic(at: Beginning, kind: str = "diffusion", size: SizeName | None = None) -> None:
    """Look at the data, choose what suits it, the machine and the budget, and begin."""
    known = training(kind)
    chosen_size = known.choose_size(size, at.seconds, at.on_gpu)
    pictures = prepared(at, lambda: _read(at))
    try:
        recipe = known.recipe(pictures, chosen_size).with_train(seed=at.seed, budget=at.budget)
    except ValueError as error:
        raise UserError(str(error)) from None
    model = new_model(recipe, pictures).to(at.device)
    plan = _plan(at, recipe, model, pictures)
    plan, rate = timed(at, plan, model, pictures)
    text = getattr(model.config, "text", None)
    if isinstance(model, Diffusion) and text is not None and text.length > 64:
        at.reporter.say(f"note: the longest caption makes the model read {text.length} tokens, which slows it down")
    channels, side, _ = recipe.shape
    at.reporter.say(
        f"chosen: {paradigm(kind).title}, {side}×{side} pixels, {'with' if channels == 4 else 'without'} transparency, "
        f"{_millions(model)} million parameters (--size {chosen_size}); {_expected(plan, pictures, rate)}"
    )
    if known.expectation:
        at.reporter.say(expectation(plan.train.images / len(pictures), len(pictures)))
    _write(at, plan)


def begin_recipe(at: Beginning, recipe: Recipe, name: str, start: Path | None = None) -> None:
    """Begin a run by a recipe. name: what it is called.  start: a model to fine-tune."""
    recipe = recipe.with_train(seed=at.seed)
    if start is not None and paradigm(recipe.kind).settings is None:
        raise UserError(f"the recipe {name} trains no model that draws, and fine-tunes none; leave out --from")
    pictures = prepared(at, lambda: _read_for(at, recipe))
    if start is None:
        model = new_model(recipe, pictures)
    else:
        model = model_from(recipe, pictures, _copied(at, start, run_folder.INITIAL_MODEL).model)
    images = recipe.train.images
    at.reporter.say(f"recipe {name}: {images:,} pictures, {images / len(pictures):.0f} passes")
    plan = _plan(at, recipe, model, pictures)
    notes = {"name": at.folder.name, "recipe": name, **plan.notes, **recipe.notes}
    _write(at, replace(plan, notes=notes, started=start is not None))


def begin_fine_tuning(at: Beginning, start: Path) -> None:
    """Copy the model to fine-tune into the folder, read pictures of its size, and begin."""
    shape = load_model(find_model(start)).model.shape
    pictures = prepared(at, lambda: _read_like(at, shape))
    loaded = _copied(at, start, run_folder.INITIAL_MODEL)
    recipe = Recipe(
        model=loaded.model.config,
        train=replace(auto_recipe.fine_tuning_config(pictures), seed=at.seed, budget=at.budget),
        prompts=tuple(auto_recipe.sample_prompts(pictures)),
        settings=loaded.settings,
    )
    model = model_from(recipe, pictures, loaded.model).to(at.device)
    plan = _plan(at, recipe, model, pictures)
    # What the model knew before it still half knows; what it is shown now comes first.
    words = list(dict.fromkeys([*plan.notes["words"], *loaded.notes.get("words", [])]))
    plan = replace(plan, notes={"name": at.folder.name, "from": start.name, "words": words}, started=True)
    plan, rate = timed(at, plan, model, pictures)
    side = shape[1]
    at.reporter.say(
        f"fine-tuning {start}: {side}×{side} pixels, {_millions(model)} million parameters; "
        f"{_expected(plan, pictures, rate)}"
    )
    _write(at, plan)


def begin_distillation(at: Beginning, model: Path) -> None:
    """Copy the model into the folder, read pictures that it can be distilled on, and begin."""
    loaded = load_model(find_model(model))
    if not isinstance(loaded.model, Diffusion):
        raise UserError(f"{model} is {loaded.title}; only a diffusion model is distilled to few steps")
    source = read_run_file(Path(at.data)) if run_folder.exists(Path(at.data)) else None
    pictures = prepared(at, lambda: _read_like(at, loaded.model.shape))
    _copied(at, model, distillation.TEACHER)
    teacher = loaded.settings
    options = distillation.DistillationOptions(teacher.guidance_scale, teacher.steps)
    config = distillation.distillation_config(auto_recipe.batch_size(256 if at.on_gpu else 64, pictures), at.seed)
    prompts = source.prompts if source is not None and source.prompts else auto_recipe.sample_prompts(pictures)
    plan = RunFile(
        data=at.data,
        train=replace(config, budget=at.budget),
        model=describe(loaded.model),
        notes={**loaded.notes, "name": at.folder.name, "distilled from": model.name},
        prompts=tuple(prompts),
        settings=distillation.FEW_STEPS,
        kind=distillation.KIND,
        options=asdict(options),
        source=source.source if source is not None else None,
    )
    pair = distillation.distillation(at.folder / distillation.TEACHER, options, at.device)
    plan, rate = timed(at, plan, pair, pictures)
    at.reporter.say(
        f"distilling {loaded.path}, which draws in {teacher.steps} steps with guidance {teacher.guidance_scale:g}, "
        f"to {distillation.FEW_STEPS.steps} steps without: {_expected(plan, pictures, rate)}"
    )
    _write(at, plan)


def expectation(passes: float, count: int) -> str:
    """What a run of this length gives, judged from runs on icons and on the example pictures."""
    if passes < 30:
        words = "colours and rough shapes, hardly what the captions say; a longer --budget or fewer pictures help"
    elif passes < 120:
        words = "clear styles and palettes, simple things recognisable, details blurred"
    else:
        words = "recognisable things; with few pictures, close to copies of the very ones it was trained on"
    return f"expect from {passes:.0f} passes over {count} pictures: {words}"


# Pictures


def prepared(at: Beginning, read: Callable[[], None]) -> Pictures:
    """The packed pictures of the folder, after the first process has read them."""
    if is_first():
        read()
    barrier()
    return Pictures.load(at.folder / run_folder.PICTURES)


def _read(at: Beginning) -> None:
    """Check the data, choose a picture size by it and the budget, and pack it into the folder, all in one pass."""
    found = open_data(at.data)
    where = at.folder / run_folder.PICTURES
    if isinstance(found, Pictures):
        found.save(where)
        at.reporter.say(f"{at.data}: {len(found)} built-in pictures")
        return
    if not found.entries:
        raise UserError(f"there are no pictures in {found.name}")
    sample = sample_check(found, seconds=min(10.0, at.seconds / 20))
    side = auto_recipe.picture_size(sample.suggested_size, at.seconds, at.on_gpu)
    found = _as_many_as_fit(at, found, sample.estimate_seconds)
    with at.reporter.stage("checking and packing pictures", len(found.entries)) as progress:
        report, _ = check_and_pack(found, side, where, progress=lambda done, _: progress(done))
    for line in report.lines():
        at.reporter.say(line)
    if side < report.suggested_size():
        at.reporter.say(f"training at {side} pixels: larger pictures take longer to learn than the budget allows")


def _as_many_as_fit(at: Beginning, found: Source, seconds: float) -> Source:
    """The source, or so many of its pictures, spread evenly, that reading them leaves time to train.

    seconds: that all of them take.
    """
    most = READING_SHARE * (at.seconds - (time.monotonic() - at.began))
    if seconds <= most:
        return found
    count = max(1, int(len(found.entries) * max(most, 0.0) / seconds))
    rows = sorted(spread_rows(len(found.entries), count))
    at.reporter.say(
        f"note: reading all {len(found.entries):,} pictures takes about {duration(seconds)}; to leave "
        f"{1 - READING_SHARE:.0%} of the time for training, {len(rows):,} of them are used, spread evenly; "
        "a longer --budget uses all"
    )
    return replace(found, entries=[found.entries[row] for row in rows])


def _read_for(at: Beginning, recipe: Recipe) -> None:
    """Pack what the recipe wants of the data into the folder."""
    found = open_data(at.data, size=recipe.shape[1])
    count = len(found if isinstance(found, Pictures) else found.entries)
    with at.reporter.stage("reading pictures", count) as progress:
        _, problems = pack_for(found, recipe, at.folder / run_folder.PICTURES, lambda done, _: progress(done))
    for line in problem_lines(problems):
        at.reporter.say(line)


def _read_like(at: Beginning, shape: tuple[int, int, int]) -> None:
    """Pack pictures of this shape, (C, S, S), into the folder."""
    channels, side, _ = shape
    where = at.folder / run_folder.PICTURES
    if run_folder.exists(Path(at.data)):
        every = Pictures.load(Path(at.data) / run_folder.PICTURES)
        found = every.take(split(every, read_run_file(Path(at.data)).train)[0])
    else:
        opened = open_data(at.data, size=side)
        if not isinstance(opened, Pictures):
            with at.reporter.stage("reading pictures", len(opened.entries)) as progress:
                pack(opened, side, channels, where, progress=lambda done, _: progress(done))
            return
        found = opened
    if found.pixels.shape[1:] != (side, side, channels):
        height, width, have = found.pixels.shape[1:]
        raise UserError(
            f"the model draws {side}×{side} pixels with {channels} channels, the pictures of {at.data} have "
            f"{width}×{height} with {have}; give other pictures"
        )
    found.save(where)


def _copied(at: Beginning, model: Path, name: str) -> Loaded[Settings]:
    """A model, after the first process has copied it into the folder under this name."""
    loaded = load_model(find_model(model), dtype=torch.float32)
    if is_first():
        at.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loaded.path, at.folder / name)
    barrier()
    return loaded


# The plan


def _plan(at: Beginning, recipe: Recipe, model: Any, pictures: Pictures) -> RunFile:
    """What run.json will say, but for the number of pictures."""
    settings = paradigm(recipe.kind).settings
    prompts = recipe.prompts
    if not prompts and settings is not None:
        prompts = tuple(auto_recipe.sample_prompts(pictures))
    return RunFile(
        data=at.data,
        train=recipe.train,
        model=describe(model),
        notes={"name": at.folder.name, "words": known_words(recipe, pictures)},
        prompts=prompts,
        settings=recipe.settings or (settings() if settings is not None else None),
        source=recipe.source,
    )


def _write(at: Beginning, plan: RunFile) -> None:
    """Begin. Which pictures are held back goes into the notes, so that `evaluate` knows them."""
    if not is_first():
        return
    held = held_out_pictures(Pictures.load(at.folder / run_folder.PICTURES), plan.train).keys
    notes = dict(plan.notes)
    if held and "held_out" not in notes:
        notes["held_out"] = held
    replace(plan, notes=notes).write(at.folder)


def timed(at: Beginning, plan: RunFile, model: Any, pictures: Pictures) -> tuple[RunFile, float]:
    """The plan with as many pictures as the machine can train on in what is left of the budget, as far as one can
    know beforehand: it spaces samples and checkpoints; the clock decides when the run ends.

    Returns how many pictures it trains on in a second, too.
    """
    at.reporter.say("measuring how fast this machine trains …")
    trial = run_folder.run_of(at.folder, plan, model, pictures)
    try:
        evaluation = evaluation_seconds(trial, plan)
        rate = measured_rate(trial, seconds=min(6.0, at.seconds / 10))
    finally:
        trial.source.release()
    seconds = at.seconds - (time.monotonic() - at.began)
    count = auto_recipe.evaluations(seconds, evaluation)
    for_steps = max(0.0, seconds - (count + 1) * evaluation)
    if rate * for_steps < plan.train.batch_size:
        at.reporter.say("note: the budget is too little for more than a step or two; the model will be poor")
    config: TrainConfig = auto_recipe.with_images(plan.train, int(rate * for_steps), count)
    return replace(plan, train=config), rate


def measured_rate(run: Run[Any], seconds: float = 6.0) -> float:
    """Pictures a second that this run trains at: a few real steps, after which the run is as it was before.

    The median of the steps, after two that warm up (and compile). Several processes that train together take them
    together.
    """
    state = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
    if run.config.compile:
        run.model.compile_loss()
    run.step()
    run.step()
    times: list[float] = []
    began = time.perf_counter()
    while any_process(len(times) < 3 or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        run.step()
        times.append(time.perf_counter() - start)
    with torch.no_grad():
        for name, value in run.model.state_dict().items():
            value.copy_(state[name])
    run.reset()
    return run.config.batch_size / statistics.median(times)


def evaluation_seconds(run: Run[Any], plan: RunFile) -> float:
    """How long measures and a sample grid take on this machine, the grid from one of its pictures."""
    known = training(run.kind)
    start = time.perf_counter()
    with run.evaluating() as model:
        known.validate(model, held_out_pictures(run.pictures, run.config), run.config.batch_size)
    measured = time.perf_counter() - start
    if not plan.prompts:
        return measured
    start = time.perf_counter()
    with run.evaluating() as model:
        known.preview(model, Preview(plan.prompts[:1], plan.settings, run.pictures))
    return measured + (time.perf_counter() - start) * len(plan.prompts)


def _expected(plan: RunFile, pictures: Pictures, rate: float) -> str:
    images = plan.train.images
    return f"about {images:,} pictures at {rate:.0f} a second, {images / len(pictures):.0f} passes over yours"


def _millions(model: Any) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}"
