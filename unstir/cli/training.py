"""Training a run to its end or to Ctrl-C, and saying how it goes: what `train` and `distill` share."""

import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.progress import bar, duration, say, stage
from unstir.errors import UserError

if TYPE_CHECKING:
    from unstir.train.loop import Run
    from unstir.train.run_file import RunFile


class Console:
    """Tells the terminal how a run begins (`train.begin.Reporter`)."""

    def say(self, sentence: str) -> None:
        say(sentence)

    stage = staticmethod(stage)


def parse_duration(text: str) -> float:
    """Seconds of "90s", "30m" or "2h"; UserError for anything else, and for a number without its unit."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh])", text.strip())
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {text!r} is no time; write 90s, 30m or 2h")
    return seconds


@dataclass(frozen=True)
class Session:
    """One call of a command that trains.

    data: as it was typed; a run on other data is refused.
    folder: of the run.
    device: of this process.
    command: continues the run.
    began: when the command began, by time.monotonic.
    tensorboard: write TensorBoard files too.
    eval_clip: a CLIP that scores what the model draws.
    """

    data: str
    folder: Path
    device: str
    command: list[str]
    began: float
    tensorboard: bool = False
    eval_clip: Path | None = None


def carry_on(session: Session, begin: Callable[[], None]) -> None:
    """Continue the run in this folder, or begin one there by `begin`, and train it. UserError for what cannot be."""
    from unstir.train import run_folder
    from unstir.train.distributed import any_process, barrier, is_first
    from unstir.train.run_file import read_run_file

    folder = session.folder
    if any_process(run_folder.exists(folder)):
        before = read_run_file(folder).data
        if Path(before) != Path(session.data):
            raise UserError(
                f"{folder} is a run on {before}, not on {session.data}; continue that one, or name another --run"
            )
        say(f"resuming the run in {folder}; the other options are ignored")
    else:
        if is_first():
            _check_free(folder)
        begin()
        barrier()
    run, plan = run_folder.open_run(folder, session.device)
    with run_folder.exclusive(folder) if is_first() else nullcontext():
        measure = None
        if session.eval_clip is not None and is_first():
            measure = _eval_clip(run, plan, session.eval_clip, session.device)
        _train(run, plan, session, measure)


def _check_free(folder: Path) -> None:
    """UserError where no run can begin."""
    from unstir.train import run_folder

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run {folder} is a file; name a folder")
    if not run_folder.is_free(folder):
        raise UserError(f"{folder} is not empty and holds no run; name another folder with --run")


_SCORED = 16
"""Pictures that are drawn and scored at every evaluation."""


def _eval_clip(
    run: "Run[Any]", plan: "RunFile", path: Path, device: str
) -> "Callable[[Run[Any]], Mapping[str, float]]":
    """What a CLIP says at every evaluation of what the model draws: of held-out captions where there are any."""
    from unstir.evaluate.small import small_evaluation
    from unstir.models.generative import GenerativeModel
    from unstir.train.kinds import held_out
    from unstir.weights.model_file import find_model, load_clip

    model = run.model.exported()
    if not isinstance(model, GenerativeModel):
        raise UserError("--eval-clip scores what a model draws, and this run trains none that does; leave it out")
    clip = load_clip(find_model(path), device)
    held = held_out(run.pictures, run.config)
    pictures = held if len(held) > 1 else run.pictures
    rows = range(0, len(pictures), max(1, len(pictures) // _SCORED))[:_SCORED]
    try:
        clip.tokenize([pictures.captions[row][0] for row in rows])
    except ValueError as error:
        raise UserError(f"{path} cannot score these pictures: {error}") from None

    def measure(_: "Run[Any]") -> Mapping[str, float]:
        found = small_evaluation(model, pictures, clip, rows, plan.settings)
        return {"CLIP score": found.clip_score, "CLIP score, real": found.ceiling, "KID": found.kernel}

    return measure


def _train(
    run: "Run[Any]",
    plan: "RunFile",
    session: Session,
    measure: "Callable[[Run[Any]], Mapping[str, float]] | None",
) -> None:
    from unstir.train import run_folder
    from unstir.train.distributed import is_first
    from unstir.train.loop import Diverged, train
    from unstir.train.samples import save_preview

    def sample(run: "Run[Any]") -> None:
        save_preview(run, plan)
        run_folder.export(run, plan)

    def keep(run: "Run[Any]") -> None:
        run_folder.export(run, plan, run_folder.BEST)

    said = time.monotonic()
    used = time.monotonic() - session.began
    with _interrupted() as stop, bar("training", run.config.images) as progress:
        steps = train(
            run,
            sample=sample,
            measure=measure,
            keep=keep,
            stop=stop,
            tensorboard=session.tensorboard,
            used=used,
        )
        try:
            for now in steps:
                words = f"loss {now.loss:.3f}, {now.rate:.0f} pictures/s"
                progress(now.images_seen / now.images * run.config.images, words)
                for warning in now.warnings:
                    say(f"warning: after {now.images_seen:,} pictures {warning}")
                if now.event == "log" and not progress.shown and time.monotonic() - said > 10:
                    said = time.monotonic()
                    say(f"{now.images_seen:,} of {now.images:,}: {words}, {duration(now.seconds_left)} left")
        except Diverged as error:
            raise UserError(str(error)) from None
        except ValueError as error:
            raise UserError(f"this run cannot go on: {error}") from None
    if is_first():
        _conclude(run, plan, shlex.join(session.command))


def _conclude(run: "Run[Any]", plan: "RunFile", command: str) -> None:
    """The last words, and the model file where there is none yet."""
    from unstir.train import run_folder

    if not run.schedule.finished(run.images_seen):
        run_folder.export(run, plan)
        say(
            f"stopped after {run.images_seen:,} of {run.schedule.expected(run.images_seen):,} pictures; everything is "
            f"saved. To continue: {command}"
        )
        return
    if not (run.folder / run_folder.MODEL).exists():
        run_folder.export(run, plan)
    say(f"done: {run.folder / run_folder.MODEL}")
    if (run.folder / run_folder.BEST).exists():
        say(f"the weights with the {run.config.best}: {run.folder / run_folder.BEST}")
    trial = _trial(run, plan)
    if trial:
        say("try: " + shlex.join([*trial, "--model", str(run.folder)]))


def _trial(run: "Run[Any]", plan: "RunFile") -> list[str]:
    """A command to try the model with; none for a CLIP of built-in pictures, which lie in no folder to search."""
    if plan.prompts and plan.settings is not None:
        return ["unstir", "generate", plan.prompts[0]]
    if run.kind != "clip" or not Path(plan.data).exists():
        return []
    return ["unstir", "clip", "search", plan.data, "--words", run.pictures.captions[0][0]]


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
