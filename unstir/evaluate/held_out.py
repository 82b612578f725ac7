"""Which pictures a model was trained on and which were held out, by their keys or by what they show.

An entry that holds out is a picture's key, or a cell "concept|family" (of the metadata fields of that name): all
drawings of one thing by one hand, which are held out together or not at all. A model file may carry its own list, in
its notes under "held_out": keys, cells, or cells as pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.errors import UserError
from unstir.evaluate.rows import Indices

NOTE = "held_out"
"""Where a model's notes have their list."""

Meta = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of pictures, rising.  unknown: entries of the list that no picture fits."""

    seen: Indices
    held_out: Indices
    unknown: tuple[str, ...] = ()


def cell(meta: Meta) -> str | None:
    """ "concept|family", or None for a picture whose metadata does not name both."""
    concept, family = meta.get("concept"), meta.get("family")
    return f"{concept}|{family}" if concept is not None and family is not None else None


def split(keys: Sequence[str], metas: Sequence[Meta], entries: Sequence[str]) -> Split:
    """Sort pictures into seen and held out. Raises UserError if the list fits no picture, or leaves none as seen."""
    wanted = frozenset(entries)
    names = [{key, cell(meta) or key} for key, meta in zip(keys, metas, strict=True)]
    out = np.array([not wanted.isdisjoint(known) for known in names], dtype=np.bool_)
    if wanted and not out.any():
        raise UserError(f"not one of the {len(keys)} pictures is on the list of those held out; is it another set's?")
    if out.all():
        raise UserError("the list of what was held out covers every picture; nothing is left that was trained on")
    met = frozenset[str]().union(*names)
    return Split(np.flatnonzero(~out), np.flatnonzero(out), tuple(sorted(wanted - met)))


def read_list(path: Path) -> list[str]:
    """The entries of a text file, one a line. Raises UserError if there are none, or it is no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(
            f"there is no list {path}; give a text file with the key of a held-out picture a line"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of pictures: {error}") from None
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise UserError(f"{path} names no picture; write the key of a held-out picture into each line")
    return entries


def noted(notes: Meta) -> list[str]:
    """The list in a model's notes, or []. Raises UserError if it is something else."""
    match notes.get(NOTE):
        case None:
            return []
        case list() as entries:
            return [_entry(entry) for entry in entries]
    raise UserError(f'the model\'s note "{NOTE}" is no list; name what was held out with --held-out')


def _entry(entry: object) -> str:
    match entry:
        case str():
            return entry
        case [str(concept), str(family)]:
            return f"{concept}|{family}"
    raise UserError(f'the model\'s note "{NOTE}" holds {entry!r}, which names no picture; use --held-out')
