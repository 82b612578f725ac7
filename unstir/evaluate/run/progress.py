"""How a long evaluation reports its progress without knowing a terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[float], None]
"""Called with how much of a stage is done."""

StartStage = Callable[[str, float], AbstractContextManager[Advance]]
"""Begins a stage of the work: what it is, and how much there is to do."""


@contextmanager
def no_progress(_what: str, _total: float) -> Iterator[Advance]:
    """A stage that is reported to nobody."""
    yield lambda _done: None
