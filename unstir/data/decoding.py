"""Decoding the pictures of a source on all cores, in order, with a bounded number of them in memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from unstir.data.entry import Entry, Problem
from unstir.data.transforms import decode

_AHEAD = 8
"""Pictures for each worker that are decoded ahead of the one that is wanted next."""

T = TypeVar("T")


def available_cores() -> int:
    """The number of cores that this process may use (its affinity), at least 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def decoded(
    entries: Sequence[Entry], make: Callable[[Image.Image], T], workers: int | None = None
) -> Iterator[tuple[Entry, T | Problem]]:
    """Each entry with what `make` makes of its picture, decoded at full size, or with its problem; in order.

    make, workers: as for `in_parallel`.
    """
    return in_parallel(entries, lambda entry: make(decode(entry.read())), workers)


def in_parallel(
    entries: Sequence[Entry], make: Callable[[Entry], T], workers: int | None = None
) -> Generator[tuple[Entry, T | Problem], None, None]:
    """Each entry with what `make` returns for it, in order. ValueError and OSError from it become problems.

    make: called from several threads (Pillow decodes and scales without holding Python's lock).
    workers: number of threads, by default one for each core; the results do not depend on it.
    Closing the generator early stops the threads. Raises ValueError for less than one worker.
    """
    threads = available_cores() if workers is None else workers
    if threads < 1:
        raise ValueError(f"decoding needs at least one of the workers, not {workers}")

    def attempt(entry: Entry) -> T | Problem:
        try:
            return make(entry)
        except ValueError as error:
            return Problem(entry.key, str(error))
        except OSError as error:
            return Problem(entry.key, f"the picture cannot be read ({error.strerror or error})")

    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[Entry, Future[T | Problem]]] = deque()
    try:
        for entry in entries:
            waiting.append((entry, pool.submit(attempt, entry)))
            if len(waiting) >= _AHEAD * threads:
                first, result = waiting.popleft()
                yield first, result.result()
        for first, result in waiting:
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
