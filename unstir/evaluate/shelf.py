"""Arrays kept in a folder under what they were made from, so that a stopped evaluation goes on where it was."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unstir.files import write_atomic

Vectors = npt.NDArray[np.float32]


class Shelf:
    """Arrays by content: equal ingredients give the array that was made of them before, others never do.

    folder: where the arrays lie, made when the first one comes; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def get(self, ingredients: Iterable[bytes], make: Callable[[], Vectors]) -> Vectors:
        """The array made of these ingredients, from the folder or from `make`. A damaged file is made again."""
        if self.folder is None:
            return make()
        digest = hashlib.blake2b(digest_size=16)
        for part in ingredients:
            digest.update(len(part).to_bytes(8, "little") + part)  # "ab", "c" is not "a", "bc"
        path = self.folder / f"{digest.hexdigest()}.npy"
        try:
            kept: Vectors = np.load(path, allow_pickle=False)
            return kept
        except (OSError, ValueError, EOFError):
            made = make()
        write_atomic(path, lambda temporary: _save(temporary, made))
        return made


def _save(path: Path, array: Vectors) -> None:
    with path.open("wb") as file:  # given a path, numpy would add ".npy" to its name
        np.save(file, array)
