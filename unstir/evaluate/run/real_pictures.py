"""The real pictures of an evaluation, at the size of the model, and which of them it was trained on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.data.built_in import open_data
from unstir.data.entry import Source
from unstir.data.packing import pack
from unstir.data.pictures import LISTING, Pictures
from unstir.errors import UserError
from unstir.evaluate.run.held_out import HeldOutSplit, split_held_out
from unstir.evaluate.run.progress import StartStage, no_progress


@dataclass(frozen=True, eq=False)
class RealPictures:
    """name: as the user gave it.  pictures: all of them.  split: which were seen, which held out.

    left_out: how many pictures could not be used.  built_in: the name of a built-in set, or "".
    """

    name: str
    pictures: Pictures
    split: HeldOutSplit
    left_out: int = 0
    built_in: str = ""


def open_real_pictures(
    name: str,
    shape: tuple[int, int, int],
    entries: Sequence[str] = (),
    folder: Path | None = None,
    stage: StartStage = no_progress,
) -> RealPictures:
    """Decode captioned pictures at a model's size, or open the built-in set of that name.

    shape: (channels, side, side) of the model.
    entries: what was held out (see `held_out`); a built-in set has its own split.
    folder: caches the decoded pictures, which are opened again while the files are the same.
    Raises UserError as `open_data`, `pack` and `split_held_out` do.
    """
    channels, side, _ = shape
    found = open_data(name, size=side)
    if isinstance(found, Pictures):
        if channels != 3:
            raise UserError(
                f"the built-in set {name} has no transparency, and this model draws transparent pictures: "
                "give other data"
            )
        test = open_data(name, size=side, held_out=True)
        assert isinstance(test, Pictures)
        return joined_sets(name, found, test)
    # A wrong list is refused before minutes are spent on decoding.
    split_held_out([entry.key for entry in found.entries], [entry.meta for entry in found.entries], entries)
    pictures, left_out = _packed(found, side, channels, folder, stage)
    sides = split_held_out(pictures.keys, pictures.meta, entries)
    return RealPictures(name, pictures, sides, left_out + len(found.problems))


def joined_sets(name: str, seen: Pictures, held_out: Pictures) -> RealPictures:
    """The two parts of a built-in set."""
    both = Pictures(
        np.concatenate([seen.pixels, held_out.pixels]),
        [*seen.captions, *held_out.captions],
        [*seen.keys, *held_out.keys],
        [*seen.meta, *held_out.meta],
    )
    return RealPictures(name, both, HeldOutSplit(np.arange(len(seen)), np.arange(len(seen), len(both))), built_in=name)


def _packed(source: Source, side: int, channels: int, folder: Path | None, stage: StartStage) -> tuple[Pictures, int]:
    """The pictures, and how many could not be decoded; from the folder where it has them."""
    where = None
    if folder is not None:
        # A name for each set and size, so that several can lie side by side.
        contents = json.dumps([source_fingerprint(source), side, channels])
        where = folder / hashlib.sha256(contents.encode()).hexdigest()[:16]
        if (where / LISTING).exists():  # it is written last
            try:
                pictures = Pictures.load(where)
                return pictures, len(source.entries) - len(pictures)
            except UserError:
                pass  # damaged, or of another layout: decoded again
    with stage("decoding pictures", len(source.entries)) as advance:
        pictures, problems = pack(source, side, channels, where=where, progress=lambda done, _: advance(done))
    return pictures, len(problems)


def source_fingerprint(source: Source) -> str:
    """SHA-256, in hex, over all files as they are, with their keys, captions and metadata."""
    digest = hashlib.sha256()
    for entry in source.entries:
        caption = json.dumps([entry.key, entry.caption, dict(entry.meta)], sort_keys=True).encode()
        try:
            picture = entry.read()
        except OSError:
            picture = b""  # `pack` will say which one cannot be read
        for part in (caption, picture):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
