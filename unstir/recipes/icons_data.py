"""The icons: which drawings are trained on and how often, and which are held out, by the family of their styles."""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

THINGS = ("Food & Drink", "Animals & Nature", "Travel & Places", "Objects", "Activities")

Meta = Mapping[str, object]


def is_flag(meta: Meta) -> bool:
    """Whether it is the flag of a country or region: hundreds of rectangles with names that mean nothing else."""
    return str(meta["name"]).startswith("flag: ") or meta.get("group") == "Flags"


def is_thing(meta: Meta) -> bool:
    """Whether one can count it and put it beside another."""
    name = str(meta["name"])
    if meta.get("kind") == "icon":
        return name.isalpha() and len(name) > 2
    clock = name.endswith(("o’clock", "-thirty"))
    return (meta.get("group") in THINGS or name.endswith(" heart")) and not clock and ":" not in name


def weight(meta: Meta) -> int:
    """How often in an epoch: things most, line icons less (there are so many), flags least."""
    if is_flag(meta):
        return 1
    if meta.get("kind") == "icon":
        return 2
    return 5 if is_thing(meta) else 3


def cell(meta: Meta) -> tuple[str, str]:
    """(concept, family): drawings within one share a hand, so they are held out together or not at all."""
    return str(meta["concept"]), str(meta["family"])


def held_out_cells(metas: Sequence[Meta]) -> frozenset[tuple[str, str]]:
    """For about a quarter of the concepts that three families draw (emoji) or a tenth of those that two draw (icons),
    one family's drawings are never trained on. No flags. A function of the names alone.
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
    """Rows to train on, and rows held out."""
    held = held_out_cells(metas)
    out = np.array([cell(meta) in held for meta in metas])
    return np.flatnonzero(~out), np.flatnonzero(out)


def annotated(meta: Meta) -> dict[str, object]:
    """The metadata with what scenes ask for beside: thing, dark."""
    dark = meta.get("kind") == "icon" or meta.get("style") in ("fluent-high-contrast", "emojitwo-outline")
    return {**meta, "thing": is_thing(meta), "dark": dark, "weight": weight(meta)}
