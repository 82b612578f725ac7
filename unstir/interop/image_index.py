"""The pictures at a path with their CLIP vectors: one file, a folder with captions or without, or webdataset shards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unstir.data.decoding import decoded
from unstir.data.entry import OTHER_PICTURES, PICTURES, Entry, Problem
from unstir.data.folder import files_in
from unstir.data.sources import open_source
from unstir.data.transforms import decode, fit
from unstir.errors import UserError
from unstir.interop.clip import LoadedClip
from unstir.models.zero_shot import embed_batches

_BATCH = 32
_WORKERS = 2


@dataclass(frozen=True)
class ImageIndex:
    """Pictures and their vectors in one CLIP's space.

    entries: N >= 1 pictures, in order.
    vectors: (N, width), one row a picture, on the CPU.
    problems: what was left out, and why.
    """

    entries: list[Entry]
    vectors: Tensor
    problems: list[Problem]


def list_images(path: Path) -> tuple[list[Entry], list[Problem]]:
    """List the pictures at a path, in order, and what is left out.

    path: a picture file, a folder, or a .tar of webdataset. In a folder without shards pictures need no caption: their
        key is the name of the file, and the caption of one without is "".
    Raises UserError if there is no picture.
    """
    if path.is_file() and path.suffix.lower() != ".tar":
        return [Entry(str(path), "", {}, path.read_bytes)], []
    names = list(files_in(path)) if path.is_dir() else []
    if not path.is_dir() or any(_extension(name) == "tar" for name in names):
        source = open_source(path)
        return source.entries, source.problems
    pictures = [name for name in names if _extension(name) in PICTURES]
    if not pictures:
        raise UserError(f"there is no picture in {path}; unstir reads {', '.join(sorted(PICTURES))}")
    try:
        captions = {entry.key: entry.caption for entry in open_source(path).entries}
    except UserError:  # no picture has a caption
        captions = {}
    problems = [
        Problem(name, "this kind of picture is not read; convert it to PNG")
        for name in names
        if _extension(name) in OTHER_PICTURES - PICTURES
    ]
    return [Entry(name, captions.get(_key(name), ""), {}, (path / name).read_bytes) for name in pictures], problems


def embed_images(clip: LoadedClip, path: Path, progress: Callable[[int, int], None] | None = None) -> ImageIndex:
    """Embed all pictures at a path.

    path: as in `list_images`.
    progress: called with (done, total).
    Raises UserError if there is no picture, or none that can be decoded.
    """
    entries, left_out = list_images(path)
    kept: list[Entry] = []
    undecodable: list[Problem] = []

    def batches() -> Iterator[Tensor]:
        pending: list[npt.NDArray[np.uint8]] = []
        for done, (entry, result) in enumerate(decoded(entries, clip.pixels, _WORKERS), 1):
            if isinstance(result, Problem):
                undecodable.append(result)
            else:
                kept.append(entry)
                pending.append(result)
            if pending and (len(pending) == _BATCH or done == len(entries)):
                yield torch.from_numpy(np.stack(pending))
                pending.clear()
            if progress is not None:
                progress(done, len(entries))

    vectors = embed_batches(clip.model, batches())
    if not kept:
        first = undecodable[0]
        raise UserError(f"no picture in {path} can be decoded; the first, {first.key}: {first.what}")
    return ImageIndex(kept, vectors, [*left_out, *undecodable])


def thumbnail(entry: Entry, side: int) -> npt.NDArray[np.uint8]:
    """A picture for a sheet, (side, side, 4) uint8: a transparent one padded to a square, another cropped to it."""
    return fit(decode(entry.read()), side, 4)


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _key(name: str) -> str:
    """The key that a source gives to a picture of this name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)
