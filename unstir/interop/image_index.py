"""Pictures from wherever they are, as vectors: one file, a folder with captions or without, or webdataset shards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unstir.data.decoding import decoded
from unstir.data.entry import PICTURES, Entry, Problem
from unstir.data.folder import files_in
from unstir.data.sources import open_source
from unstir.data.transforms import decode, fit
from unstir.errors import UserError
from unstir.interop.clip import ReadClip
from unstir.models.zero_shot import embed_batches

_BATCH = 32
_WORKERS = 2


@dataclass(frozen=True)
class ImageIndex:
    """Pictures that a CLIP has looked at. entries and vectors, (N, width), go together; N is at least 1."""

    entries: list[Entry]
    vectors: Tensor
    problems: list[Problem]


def list_images(path: Path) -> tuple[list[Entry], list[Problem]]:
    """Every picture at a path, in order, and what was left out: a picture file, a folder, or a .tar of webdataset.

    In a plain folder pictures need no caption; their caption is "" then. UserError where there is not one picture.
    """
    if path.is_file() and path.suffix.lower() != ".tar":
        return [Entry(str(path), "", {}, path.read_bytes)], []
    if not path.is_dir():
        source = open_source(path)
        return source.entries, source.problems
    names = list(files_in(path))
    if any(name.lower().endswith(".tar") for name in names):
        source = open_source(path)
        return source.entries, source.problems
    pictures = [name for name in names if name.rpartition(".")[2].lower() in PICTURES]
    if not pictures:
        raise UserError(f"there is no picture in {path} ({', '.join(sorted(PICTURES))})")
    try:
        captions = {entry.key: entry.caption for entry in open_source(path).entries}
    except UserError:  # not one of them has a caption
        captions = {}
    return [Entry(name, captions.get(_stem(name), ""), {}, (path / name).read_bytes) for name in pictures], []


def embed_images(clip: ReadClip, path: Path, progress: Callable[[int, int], None] | None = None) -> ImageIndex:
    """The vectors of all pictures at a path. progress: called with (done, total).

    UserError where there is none, or not one that can be decoded.
    """
    entries, left_out = list_images(path)
    kept: list[Entry] = []
    problems = list(left_out)

    def batches() -> Iterator[Tensor]:
        waiting: list[npt.NDArray[np.uint8]] = []
        for done, (entry, result) in enumerate(decoded(entries, clip.pixels, _WORKERS), 1):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                kept.append(entry)
                waiting.append(result)
            if waiting and (len(waiting) == _BATCH or done == len(entries)):
                yield torch.from_numpy(np.stack(waiting))
                waiting.clear()
            if progress is not None:
                progress(done, len(entries))

    vectors = embed_batches(clip.model, batches())
    if not kept:
        first = problems[-len(entries)]
        raise UserError(f"not one picture of {path} can be looked at; the first, {first.key}: {first.what}")
    return ImageIndex(kept, vectors, problems)


def thumbnail(entry: Entry, side: int) -> npt.NDArray[np.uint8]:
    """A picture of a gallery for a sheet, (side, side, 4) uint8. Whole where it is transparent, else its middle."""
    return fit(decode(entry.read()), side, 4)


def _stem(name: str) -> str:
    """The key that a picture of this name has in a source."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)
