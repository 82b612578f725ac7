"""Progress bars on a terminal; plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unstir.durations import duration


class Bar:
    """A progress bar. Called with the amount done and a short text.

    update: shows both; None: nothing is shown.
    """

    def __init__(self, update: Callable[[float, str], None] | None = None) -> None:
        self._update = update

    @property
    def shown(self) -> bool:
        """Whether there is a terminal to show the bar."""
        return self._update is not None

    def __call__(self, done: float, words: str = "") -> None:
        if self._update is not None:
            self._update(done, words)


@contextmanager
def bar(what: str, total: float) -> Iterator[Bar]:
    """A progress bar with the time left, on standard error; nothing where that is not a terminal.

    what: a name for the work.
    total: its amount, in any unit.
    """
    if not (sys.stderr.isatty() and _speaks()):
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, words="")
        yield Bar(lambda done, words: progress.update(task, completed=done, words=words))


def say(text: str) -> None:
    """Print a message on standard error; standard output is for results."""
    if _speaks():
        print(text, file=sys.stderr, flush=True)


def _speaks() -> bool:
    """Whether this process prints messages: it is the only one, or the first one of torchrun."""
    return os.environ.get("RANK", "0") == "0"


_QUIET = 30.0  # seconds between two lines where no terminal shows a bar


@contextmanager
def stage(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A progress bar with rate and time left; without a terminal, a line every 30 seconds.

    Yields a function that is called with the amount done.
    """
    began = said = time.monotonic()
    with bar(what, total) as progress:

        def report(done: float) -> None:
            nonlocal said
            now = time.monotonic()
            rate = done / (now - began) if now > began else 0.0
            words = f"{done:,.0f} of {total:,.0f}, {rate:.3g} a second"
            progress(done, words)
            if not progress.shown and now - said > _QUIET and rate:
                said = now
                say(f"{what}: {words}, {duration((total - done) / rate)} left")

        yield report
