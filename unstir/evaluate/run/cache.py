"""Arrays cached in a folder under a digest of what they were computed from, so that a stopped evaluation resumes."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from unstir.evaluate.statistics.arrays import Embeddings
from unstir.files import write_atomic


class ArrayCache:
    """Arrays by content: equal inputs return the array that was computed from them before, others never do.

    folder: where the arrays lie, made when the first one comes; None caches nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def get(self, inputs: Iterable[bytes], compute: Callable[[], Embeddings]) -> Embeddings:
        """The array computed from these inputs, from the folder or by `compute`. A damaged file is computed again."""
        if self.folder is None:
            return compute()
        digest = hashlib.blake2b(digest_size=16)
        for part in inputs:
            digest.update(len(part).to_bytes(8, "little") + part)  # "ab", "c" is not "a", "bc"
        path = self.folder / f"{digest.hexdigest()}.npy"
        try:
            cached: Embeddings = np.load(path, allow_pickle=False)
            return cached
        except (OSError, ValueError, EOFError):
            computed = compute()
        write_atomic(path, lambda temporary: _save(temporary, computed))
        return computed


def _save(path: Path, array: Embeddings) -> None:
    with path.open("wb") as file:  # given a path, numpy would add ".npy" to its name
        np.save(file, array)
