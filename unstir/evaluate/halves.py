"""The floor of every distance: what two halves of the real pictures differ by, beside what the generated ones do.

Distances of sets depend on how many pictures there are: the Fréchet distance of 500 real pictures to 500 others is far
from zero, and precision and recall shift too. So floor and value are taken at one N, against the same reference half:

    floor   reference half against N pictures of the other half
    value   reference half against N generated pictures
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.draws import shuffled
from unstir.evaluate.frechet import frechet
from unstir.evaluate.kernel import kernel
from unstir.evaluate.manifold import manifold
from unstir.evaluate.rows import Floats, Indices, as_pair
from unstir.evaluate.units import Units

Distance = Callable[[Floats, Floats], Mapping[str, float]]
"""Takes the reference and the other set, (N, D) each, and gives numbers by name."""


@dataclass(frozen=True)
class Beside:
    """One distance, real against real and real against generated: means over the splits.

    floor_std, value_std: how far single splits stray, which is not the error of the mean: splits share their rows.
    """

    floor: float
    value: float
    floor_std: float
    value_std: float


@dataclass(frozen=True)
class Comparison:
    """Distances by name.  rows: N, on every side of every one of them.  splits: how many ways the set was halved."""

    distances: dict[str, Beside]
    rows: int
    splits: int


def halves(count: int, seed: int = 0, groups: npt.ArrayLike | None = None, split: int = 0) -> tuple[Indices, Indices]:
    """Cut `count` rows into two halves of one size, at random.

    groups: (count,) ids; rows of one id stay in one half, else siblings of a drawing would make the halves agree
    better than any new drawings could. An odd row, or what a group has too many, is left out.
    split: the number of the cut; cuts depend on (seed, split) alone. Returns sorted row numbers.
    Raises ValueError if there are fewer than two rows, or one group only.
    """
    units = Units.of(count, groups)
    if len(units) < 2:
        raise ValueError(f"{count} rows in one group cannot be halved")
    sides: tuple[list[int], list[int]] = ([], [])
    for unit in shuffled(len(units), seed, 2 * split):
        lesser = 0 if len(sides[0]) <= len(sides[1]) else 1
        sides[lesser].extend(units.rows(np.array([unit])).tolist())
    size = min(map(len, sides))
    one, other = (np.sort(np.array(side[:size], dtype=np.int64)) for side in sides)
    return one, other


def set_distances(reference: Floats, other: Floats) -> dict[str, float]:
    """The distances of `frechet`, `kernel` and `manifold` (k = 5) by name."""
    shares = manifold(reference, other)
    return {
        "frechet": frechet(reference, other).value,
        "kernel": kernel(reference, other).value,
        "precision": shares.precision,
        "recall": shares.recall,
        "density": shares.density,
        "coverage": shares.coverage,
    }


def compare(
    real: npt.ArrayLike,
    generated: npt.ArrayLike,
    distance: Distance = set_distances,
    seed: int = 0,
    splits: int = 5,
    groups: npt.ArrayLike | None = None,
) -> Comparison:
    """All distances real to real and real to generated, side by side at equal N.

    real: (R, D).  generated: (M, D).  N is half of R, or M where that is less; M beyond N leaves some out by chance.
    groups: (R,) ids, see `halves`.  splits: the figures are means over so many halvings.
    Raises ValueError as `halves` and `distance` do.
    """
    a, b = as_pair(real, generated)
    if splits < 1:
        raise ValueError("the set must be split at least once")
    floors: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    rows = 0
    for split in range(splits):
        one, other = halves(len(a), seed, groups, split)
        rows = min(len(one), len(b))
        reference, rest = (a[_some(half, rows, seed, split)] for half in (one, other))
        drawn = b[_some(np.arange(len(b)), rows, seed, split)]
        for table, numbers in ((floors, distance(reference, rest)), (values, distance(reference, drawn))):
            for name, number in numbers.items():
                table.setdefault(name, []).append(float(number))
    return Comparison({name: _beside(floors[name], values[name]) for name in floors}, rows, splits)


def _some(rows: Indices, count: int, seed: int, split: int) -> Indices:
    """`count` of the rows, at random where there are more."""
    return rows if count == len(rows) else np.sort(rows[shuffled(len(rows), seed, 2 * split + 1)[:count]])


def _beside(floors: list[float], values: list[float]) -> Beside:
    numbers = np.mean(floors), np.mean(values), np.std(floors), np.std(values)
    return Beside(*map(float, numbers))
