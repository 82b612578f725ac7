"""Training a run and printing its progress, until its end or Ctrl-C: shared by `train` and `distill`."""

import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.progress import bar, say, stage
from unstir.durations import duration

if TYPE_CHECKING:
    from unstir.train.loop import Run
    from unstir.train.run_file import RunFile
    from unstir.train.run_setup import RunSetup


class Console:
    """A reporter that prints to the terminal (`train.run_setup.Reporter`)."""

    def say(self, sentence: str) -> None:
        say(sentence)

    stage = staticmethod(stage)


def carry_on(
    setup: "RunSetup",
    begin: "Callable[[RunSetup], None]",
    command: list[str],
    tensorboard: bool = False,
    eval_clip: Path | None = None,
    last: bool = True,
) -> bool:
    """Resume the run in the folder, or begin it, and train it. UserError as `open_or_begin` and `train_run`.

    begin: begins the run.
    command: the command that resumes it, for messages.
    tensorboard: write TensorBoard files too.
    eval_clip: a CLIP that scores drawn pictures at each evaluation.
    last: whether no further stage follows.
    Returns whether the run is finished.
    """
    from unstir.train.distributed import is_first
    from unstir.train.session import clip_measure, exclusive_run, open_or_begin, train_run

    run, run_file = open_or_begin(setup, begin)
    with exclusive_run(setup.folder):
        scored = eval_clip is not None and is_first()
        measure = clip_measure(run, run_file, eval_clip, setup.device) if scored and eval_clip is not None else None
        said = time.monotonic()
        with _interrupted() as stop, bar("training", 1.0) as progress:
            for now in train_run(run, run_file, setup, measure=measure, stop=stop, tensorboard=tensorboard):
                words = f"loss {now.loss:.3f}, {now.rate:.0f} pictures/s"
                progress(now.images_seen / now.images, words)
                for warning in now.warnings:
                    say(f"warning: after {now.images_seen:,} pictures {warning}")
                if now.event == "log" and not progress.shown and time.monotonic() - said > 10:
                    said = time.monotonic()
                    say(f"{now.images_seen:,} of {now.images:,}: {words}, {duration(now.seconds_left)} left")
        finished = run.schedule.finished(run.images_seen)
        if is_first() and (last or not finished):
            _conclude(run, run_file, shlex.join(command))
    return finished


def _conclude(run: "Run[Any]", run_file: "RunFile", command: str) -> None:
    """Print where the model is, and a command to try it or to resume."""
    from unstir.train import run_folder

    if not run.schedule.finished(run.images_seen):
        say(
            f"stopped after {run.images_seen:,} of {run.schedule.expected(run.images_seen):,} pictures; everything is "
            f"saved. To continue: {command}"
        )
        return
    say(f"done: {run.folder / run_folder.MODEL}")
    if (run.folder / run_folder.BEST).exists():
        say(f"weights with the {run.config.best}: {run.folder / run_folder.BEST}")
    trial = _trial(run, run_file)
    if trial:
        say("try: " + shlex.join([*trial, "--model", str(run.folder)]))


def _trial(run: "Run[Any]", run_file: "RunFile") -> list[str]:
    """A command to try the model; none for a CLIP of built-in pictures, which are in no folder."""
    if run_file.prompts and run_file.settings is not None:
        return ["unstir", "generate", run_file.prompts[0]]
    if run.kind != "clip" or not Path(run_file.data).exists():
        return []
    return ["unstir", "clip", "search", run_file.data, "--words", run.pictures.captions[0][0]]


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """A function that returns whether Ctrl-C or SIGTERM was received; a second Ctrl-C stops at once."""
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
