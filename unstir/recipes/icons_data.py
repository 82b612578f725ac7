"""The icon data: which drawings are trained on and how often, and which are held out."""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

THINGS = ("Food & Drink", "Animals & Nature", "Travel & Places", "Objects", "Activities")

Meta = Mapping[str, object]


def is_flag(meta: Meta) -> bool:
    """Whether it is the flag of a country or region; their names occur in no other drawing."""
    return str(meta["name"]).startswith("flag: ") or meta.get("group") == "Flags"


def is_thing(meta: Meta) -> bool:
    """Whether it shows an object that can be counted and placed beside another."""
    name = str(meta["name"])
    if meta.get("kind") == "icon":
        return name.isalpha() and len(name) > 2
    clock = name.endswith(("o’clock", "-thirty"))
    return (meta.get("group") in THINGS or name.endswith(" heart")) and not clock and ":" not in name


def weight(meta: Meta) -> int:
    """How often a drawing is used in one pass: things most often, line icons less (there are many), flags least."""
    if is_flag(meta):
        return 1
    if meta.get("kind") == "icon":
        return 2
    return 5 if is_thing(meta) else 3


def cell(meta: Meta) -> tuple[str, str]:
    """(concept, family): the drawings of a cell look alike, so they are held out together or not at all."""
    return str(meta["concept"]), str(meta["family"])


def held_out_cells(metas: Sequence[Meta]) -> frozenset[tuple[str, str]]:
    """The held-out cells; a function of the names alone.

    One family is held out for about a quarter of the emoji concepts that three or more families draw, and for a tenth
    of the icon concepts that two or more families draw. Flags are never held out.
    """
    families: dict[str, set[str]] = defaultdict(set)
    for meta in metas:
        if not is_flag(meta):
            families[str(meta["concept"])].add(str(meta["family"]))
    held = set()
    for concept, known in families.items():
        number = zlib.crc32(concept.encode())
        emoji = concept.startswith("emoji:")
        if len(known) >= (3 if emoji else 2) and number % 1000 < (300 if emoji else 140):
            held.add((concept, sorted(known)[number // 1000 % len(known)]))
    return frozenset(held)


def split_cells(metas: Sequence[Meta]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to train on, and held-out rows."""
    held = held_out_cells(metas)
    out = np.array([cell(meta) in held for meta in metas])
    return np.flatnonzero(~out), np.flatnonzero(out)


def annotated(meta: Meta) -> dict[str, object]:
    """The metadata with the fields that scenes need: thing, dark, weight."""
    dark = meta.get("kind") == "icon" or meta.get("style") in ("fluent-high-contrast", "emojitwo-outline")
    return {**meta, "thing": is_thing(meta), "dark": dark, "weight": weight(meta)}
