"""The real pictures of an evaluation, at the size of the model, and which of them it was trained on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.data.entry import Source
from unstir.data.named import open_named
from unstir.data.packing import pack
from unstir.data.pictures import LISTING, Pictures
from unstir.errors import UserError
from unstir.evaluate.held_out import Split, split
from unstir.evaluate.stages import Stages, silent


@dataclass(frozen=True, eq=False)
class Real:
    """name: as the user gave it.  pictures: all of them.  split: which were seen, which held out.

    left_out: how many pictures could not be used.  built_in: the name of a built-in set, or "".
    """

    name: str
    pictures: Pictures
    split: Split
    left_out: int = 0
    built_in: str = ""


def open_real(
    name: str,
    shape: tuple[int, int, int],
    entries: Sequence[str] = (),
    folder: Path | None = None,
    stages: Stages = silent,
) -> Real:
    """Decode captioned pictures at a model's size, or open the built-in set of that name.

    shape: (channels, side, side) of the model.  entries: what was held out (see `held_out`); not asked of a built-in
    set, which knows its own.  folder: keeps the decoded pictures; they are opened again for the very same files.
    Raises UserError as `open_named`, `pack` and `split` do.
    """
    channels, side, _ = shape
    found = open_named(name, size=side)
    if isinstance(found, Pictures):
        if channels != 3:
            raise UserError(
                f"the built-in set {name} has no transparency, and this model draws it: give other pictures"
            )
        test = open_named(name, size=side, held_out=True)
        assert isinstance(test, Pictures)
        return joined(name, found, test)
    # Where the list makes no sense, say so before minutes are spent on decoding.
    split([entry.key for entry in found.entries], [entry.meta for entry in found.entries], entries)
    pictures, left_out = _packed(found, side, channels, folder, stages)
    sides = split(pictures.keys, pictures.meta, entries)
    return Real(name, pictures, sides, left_out + len(found.problems))


def joined(name: str, seen: Pictures, held_out: Pictures) -> Real:
    """The two parts of a built-in set."""
    both = Pictures(
        np.concatenate([seen.pixels, held_out.pixels]),
        [*seen.captions, *held_out.captions],
        [*seen.keys, *held_out.keys],
        [*seen.meta, *held_out.meta],
    )
    return Real(name, both, Split(np.arange(len(seen)), np.arange(len(seen), len(both))), built_in=name)


def _packed(source: Source, side: int, channels: int, folder: Path | None, stages: Stages) -> tuple[Pictures, int]:
    """The pictures, and how many could not be decoded; from the folder where it holds these very ones."""
    where = None
    if folder is not None:
        # The name says what is in it, so that several sizes and sets can lie side by side.
        of = json.dumps([fingerprint(source), side, channels])
        where = folder / hashlib.sha256(of.encode()).hexdigest()[:16]
        if (where / LISTING).exists():  # it is written last
            pictures = Pictures.load(where)
            return pictures, len(source.entries) - len(pictures)
    with stages("reading pictures", len(source.entries)) as told:
        pictures, problems = pack(source, side, channels, where=where, progress=lambda done, _: told(done))
    return pictures, len(problems)


def fingerprint(source: Source) -> str:
    """SHA-256, in hex, over all files as they are, with their keys, captions and metadata."""
    digest = hashlib.sha256()
    for entry in source.entries:
        said = json.dumps([entry.key, entry.caption, dict(entry.meta)], sort_keys=True).encode()
        try:
            picture = entry.read()
        except OSError:
            picture = b""  # `pack` will say which one cannot be read
        for part in (said, picture):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
