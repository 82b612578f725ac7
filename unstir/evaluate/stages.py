"""How a long evaluation tells what it is doing, without knowing a terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Told = Callable[[float], None]
"""Called with how much of a stage is done."""

Stages = Callable[[str, float], AbstractContextManager[Told]]
"""A stage of the work: what it is, and how much there is to do of it."""


@contextmanager
def silent(_what: str, _total: float) -> Iterator[Told]:
    """A stage that nobody watches."""
    yield lambda _done: None
