"""Which pictures a model was trained on and which were held out, by key or by cell.

An entry of the list is a picture's key, or a cell "concept|family" (of the metadata fields of that name): all
drawings of one thing in one family of styles, which are held out together or not at all. A model file may have its
own list, in its notes under "held_out": keys, cells, or cells as pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.errors import UserError
from unstir.evaluate.statistics.arrays import Indices

NOTE = "held_out"
"""The list's name in a model's notes."""

Metadata = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class HeldOutSplit:
    """Row numbers of pictures, in rising order.  unknown: entries of the list that match no picture."""

    seen: Indices
    held_out: Indices
    unknown: tuple[str, ...] = ()


def cell_of(meta: Metadata) -> str | None:
    """ "concept|family", or None for a picture whose metadata does not name both."""
    concept, family = meta.get("concept"), meta.get("family")
    return f"{concept}|{family}" if concept is not None and family is not None else None


def split_held_out(keys: Sequence[str], metas: Sequence[Metadata], entries: Sequence[str]) -> HeldOutSplit:
    """Sort pictures into seen and held out. Raises UserError if the list matches no picture, or all."""
    wanted = frozenset(entries)
    names = [{key, cell_of(meta) or key} for key, meta in zip(keys, metas, strict=True)]
    out = np.array([not wanted.isdisjoint(known) for known in names], dtype=np.bool_)
    if wanted and not out.any():
        raise UserError(f"none of the {len(keys)} pictures is on the held-out list; check that it belongs to this data")
    if out.all():
        raise UserError("the held-out list covers every picture; leave out of it what the model was trained on")
    matched = frozenset[str]().union(*names)
    return HeldOutSplit(np.flatnonzero(~out), np.flatnonzero(out), tuple(sorted(wanted - matched)))


def read_held_out_list(path: Path) -> list[str]:
    """The entries of a text file, one a line. Raises UserError if there are none, or it is not text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(
            f"there is no list {path}; give a text file with the key of one held-out picture a line"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of pictures: {error}") from None
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise UserError(f"{path} names no picture; write the key of a held-out picture into each line")
    return entries


def held_out_of_notes(notes: Metadata) -> list[str]:
    """The list in a model's notes, or []. Raises UserError if it is something else."""
    match notes.get(NOTE):
        case None:
            return []
        case list() as entries:
            return [_entry(entry) for entry in entries]
    raise UserError(f'the model\'s note "{NOTE}" is not a list; name what was held out with --held-out')


def _entry(entry: object) -> str:
    match entry:
        case str():
            return entry
        case [str(concept), str(family)]:
            return f"{concept}|{family}"
    raise UserError(f'the model\'s note "{NOTE}" holds {entry!r}, which names no picture; use --held-out')
