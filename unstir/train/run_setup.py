"""What a command says about a new run, before its pictures are read, and the reporter that shows what is done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Reporter(Protocol):
    """Shows the user what is being done."""

    def say(self, sentence: str) -> None:
        """Show one sentence."""
        ...

    def stage(self, what: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """Show the progress of one piece of work.

        what: a name for it.
        total: its amount, in any unit.
        Yields a function that is called with the amount done so far.
        """
        ...


class Silent:
    """A reporter that shows nothing."""

    def say(self, sentence: str) -> None: ...

    @contextmanager
    def stage(self, what: str, total: float) -> Iterator[Callable[[float], None]]:  # noqa: ARG002
        yield lambda _done: None


@dataclass(frozen=True)
class RunSetup:
    """The arguments of a new run.

    data: a folder, shards or a built-in set; for distillation also a run folder.
    folder: the run folder.
    device: of this process.
    budget: seconds, or None where a recipe sets the number of pictures.
    began: when the command began, by time.monotonic.
    seed: of the training configuration.
    reporter: shows what is done.
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
        """The budget in seconds; one hour where there is none."""
        return self.budget or 3600.0
