"""Are the pictures like real ones, as a set? All distances with their floors and errors, as rows of a table."""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from unstir.evaluate.frechet import frechet
from unstir.evaluate.halves import compare, halves
from unstir.evaluate.jackknife import jackknife
from unstir.evaluate.kernel import kernel
from unstir.evaluate.manifold import Manifold, manifold
from unstir.evaluate.report import Row
from unstir.evaluate.rows import Floats, as_rows
from unstir.evaluate.shelf import Vectors
from unstir.evaluate.units import Units

LEAST = 12
"""Pictures a side below which no distance of sets is told."""

_BLOCKS = 20
_SHARES = ("precision", "recall", "coverage")
_NAMES = {"frechet": "Fréchet distance", "kernel": "kernel distance"}


def likeness(
    real: Vectors, generated: Vectors, real_groups: Sequence[str], generated_groups: Sequence[str], seed: int = 0
) -> tuple[list[Row], int]:
    """Rows, and how many pictures there are on every side of every distance; no rows where these are too few.

    real: (R, D) pictures that lent no caption, in random order.  generated: (M, D).  groups: ids of pictures that go
    together (see `halves`). The value is the mean over the halvings, its interval the jackknife's of the first one.
    """
    units = Units.of(len(real), list(real_groups))
    if min(len(real) // 2, len(generated)) < LEAST or len(units) < 2:
        return [], 0
    one, other = halves(len(real), seed, list(real_groups))
    if min(len(one), len(other)) < LEAST:
        return [], 0
    compared = compare(real, generated, seed=seed, groups=list(real_groups))
    count = compared.rows
    sets = as_rows(real[one[:count]]), as_rows(generated[:count])
    groups = [[real_groups[i] for i in one[:count]], list(generated_groups[:count])]
    errors = _errors(sets, groups, seed)
    rows = []
    for name, beside in compared.distances.items():
        row = Row(name=_NAMES.get(name, name), value=beside.value, floor=beside.floor)
        if errors is not None and errors[name][1] > 0:  # a share of all or none has no error to tell
            row["interval"] = _interval(name, beside.value, errors[name])
        rows.append(row)
    return rows, count


def _errors(sets: tuple[Floats, Floats], groups: list[list[str]], seed: int) -> dict[str, tuple[float, float]] | None:
    """How far below and above its value each distance may lie; None where there are too few to tell."""
    blocks = min(_BLOCKS, *(len(set(ids)) for ids in groups))
    if blocks < 5 or min(len(rows) for rows in sets) <= 2 * LEAST:
        return None
    shares = _remembered(manifold)
    statistics: dict[str, Callable[[Floats, Floats], float]] = {
        "frechet": lambda a, b: frechet(a, b).value,
        "kernel": lambda a, b: kernel(a, b).value,
        "precision": lambda a, b: shares(a, b).precision,
        "recall": lambda a, b: shares(a, b).recall,
        "density": lambda a, b: shares(a, b).density,
        "coverage": lambda a, b: shares(a, b).coverage,
    }
    found = {name: jackknife(one, sets, blocks, seed, groups=groups) for name, one in statistics.items()}
    return {name: (one.value - one.low, one.high - one.value) for name, one in found.items()}


def _remembered(measure: Callable[[Floats, Floats], Manifold]) -> Callable[[Floats, Floats], Manifold]:
    """The measure, computed once for each pair of sets: four shares come of it, and each is asked for by itself."""
    known: dict[bytes, Manifold] = {}

    def ask(a: Floats, b: Floats) -> Manifold:
        key = blake2b(a.tobytes()).digest() + blake2b(b.tobytes()).digest()
        if key not in known:
            known[key] = measure(a, b)
        return known[key]

    return ask


def _interval(name: str, value: float, error: tuple[float, float]) -> tuple[float, float]:
    """Around the value, and within what the measure can be."""
    least = -np.inf if name == "kernel" else 0.0
    most = 1.0 if name in _SHARES else np.inf
    return float(max(value - error[0], least)), float(min(value + error[1], most))
