"""Training a run to its end or to Ctrl-C, and saying how it goes: what `train` and `tune` share."""

import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.progress import bar, duration, say
from unstir.errors import UserError

if TYPE_CHECKING:
    from unstir.train.loop import Run
    from unstir.train.run_folder import RunFile


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


def checked_seed(seed: int) -> int:
    """The seed; UserError where it is none."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed must be 0 to {2**32 - 1}, got {seed}")
    return seed


def carry_on(
    data: str,
    folder: Path,
    device: str,
    plan: Callable[[], None],
    command: list[str],
    board: bool,
    judge: Path | None = None,
) -> None:
    """Continue the run in this folder, or begin one there, and train it.

    data: as it was typed; a run on other data is refused.  device: of this process.  plan: writes run.json.
    command: continues the run.  board: write TensorBoard files too.  judge: a CLIP that scores what the model draws.
    UserError for what cannot be.
    """
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import any_process, barrier, is_first

    if any_process(runfolder.exists(folder)):
        before = runfolder.read_plan(folder).data
        if Path(before) != Path(data):
            raise UserError(f"{folder} is a run on {before}, not on {data}; continue that one, or name another --run")
        say(f"continuing the run in {folder} as it was begun; whatever else was asked for changes nothing now")
    else:
        if is_first():
            _check_free(folder)
        plan()
        barrier()
    opened, begun = runfolder.open_run(folder, device)
    with runfolder.exclusive(folder) if is_first() else nullcontext():
        measure = None if judge is None or not is_first() else _judged(opened, begun, judge, device)
        _train(opened, begun, board, shlex.join(command), measure)


def _check_free(folder: Path) -> None:
    """UserError where no run can begin."""
    from unstir.train import run_folder as runfolder

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run {folder} is a file; name a folder")
    if not runfolder.is_free(folder):
        raise UserError(f"{folder} is not empty and holds no run; name another folder with --run")


_JUDGED = 16
"""Pictures that are drawn and judged at every look."""


def _judged(run: "Run[Any]", begun: "RunFile", path: Path, device: str) -> "Callable[[Run[Any]], Mapping[str, float]]":
    """What a CLIP says, every so many pictures, of what the model draws: of held-out captions where there are any."""
    from unstir.evaluate.run.quick import quick_evaluation
    from unstir.models.consistency import Consistency
    from unstir.models.diffusion import Diffusion
    from unstir.train.validation import held_back
    from unstir.weights.model_file import find_model, load_clip

    model = run.model.student if isinstance(run.model, Consistency) else run.model
    if not isinstance(model, Diffusion):
        raise UserError("--judge looks at what a model draws, and this run trains none that does; leave it out")
    clip = load_clip(find_model(path), device)
    held = held_back(run.pictures, run.config)
    pictures = held if len(held) > 1 else run.pictures
    rows = range(0, len(pictures), max(1, len(pictures) // _JUDGED))[:_JUDGED]
    try:
        clip.tokenize([pictures.captions[row][0] for row in rows])
    except ValueError as error:
        raise UserError(f"{path} cannot judge these pictures: {error}") from None

    def measure(_: "Run[Any]") -> Mapping[str, float]:
        found = quick_evaluation(model, pictures, clip, rows, begun.sampling)
        return {"CLIP score": found.clip_score, "CLIP score, real": found.ceiling, "KID": found.kid}

    return measure


def _train(
    run: "Run[Any]",
    begun: "RunFile",
    board: bool,
    command: str,
    measure: "Callable[[Run[Any]], Mapping[str, float]] | None",
) -> None:
    from unstir.train import run_folder as runfolder
    from unstir.train.distributed import is_first
    from unstir.train.loop import Diverged, train
    from unstir.train.samples import sampler

    drawn = sampler(begun.prompts, begun.sampling)

    def sample(run: "Run[Any]") -> None:
        drawn(run)
        runfolder.export(run, begun)

    def keep(run: "Run[Any]") -> None:
        runfolder.export(run, begun, runfolder.BEST)

    told = time.monotonic()
    with _interrupted() as stop, bar("training", run.config.images) as progress:
        try:
            for now in train(run, sample=sample, measure=measure, keep=keep, stop=stop, tensorboard=board):
                words = f"loss {now.loss:.3f}, {now.rate:.0f} pictures/s"
                progress(now.images_seen, words)
                for warning in now.warnings:
                    say(f"warning: after {now.images_seen:,} pictures {warning}")
                if now.event == "log" and not progress.shown and time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"{now.images_seen:,} of {now.images:,}: {words}, {duration(now.seconds_left)} left")
        except Diverged as error:
            raise UserError(str(error)) from None
        except ValueError as error:
            raise UserError(f"this run cannot go on: {error}") from None
    if not is_first():
        return
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
    if (run.folder / runfolder.BEST).exists():
        say(f"with the {run.config.best}, of the weights on the way: {run.folder / runfolder.BEST}")
    trial = _trial(run, begun)
    if trial:
        say("try: " + shlex.join([*trial, "--model", str(run.folder)]))


def _trial(run: "Run[Any]", begun: "RunFile") -> list[str]:
    """A command to try the model with; none for a CLIP of built-in pictures, which lie in no folder to search."""
    from unstir.models.clip import Clip

    if not isinstance(run.model, Clip):
        return ["unstir", "generate", begun.prompts[0]]
    if not Path(begun.data).exists():
        return []
    return ["unstir", "clip", "search", begun.data, "--words", run.pictures.captions[0][0]]


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed, or the process asked to end; a second Ctrl-C stops at once."""
    pressed = False

    def press(signum: int, _frame: object) -> None:
        nonlocal pressed
        if pressed and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if not pressed:
            say("\nstopping after this step …")
        pressed = True

    before = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
