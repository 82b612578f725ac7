"""Distribution metrics: how far a set of generated pictures is from a set of real ones, with floor and ceiling.

Distances between sets depend on how many pictures there are: the Fréchet distance of 500 real pictures to 500 others is
far from zero, and precision and recall shift too. So three distances are measured at one N, to the same reference:

    value     reference to N generated pictures
    ceiling   reference to the N real pictures of the same prompts: what a perfect model reaches
    floor     reference to N other real pictures

The generated pictures share concepts and styles with the real ones of the same prompts, so the ceiling is what they are
compared with; ceiling and floor differ by chance alone. That holds only while no group (all drawings of one thing by
one hand) has pictures on two sides: with siblings of the prompts in the reference, a model looks better than real
pictures. `run.prompts` sees to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.metrics.kernel_distance import kernel_distance
from unstir.evaluate.metrics.precision_recall import precision_recall
from unstir.evaluate.statistics.arrays import Floats, Indices, as_pair, as_rows
from unstir.evaluate.statistics.clusters import Clusters
from unstir.evaluate.statistics.jackknife import JackknifeInterval, jackknife_each
from unstir.evaluate.statistics.resampling import permutation
from unstir.evaluate.statistics.split_half import split_half

FRECHET, KERNEL = "Fréchet distance", "kernel distance"
LOWER_IS_BETTER = (FRECHET, KERNEL)
"""Of what `set_distances` computes; of the rest higher is better."""

LEAST = 12
"""Pictures a side below which no distance between sets is reported."""

_BLOCKS = 20
_PROPORTIONS = ("precision", "recall", "coverage")

SetDistances = Callable[[Floats, Floats], Mapping[str, float]]
"""Takes the reference and the other set, (N, D) each, and returns numbers by name."""


@dataclass(frozen=True)
class ComparedDistance:
    """One distance to the reference, as means over the splits.

    value: of generated pictures.  ceiling: of the real pictures of the same prompts.  floor: of other real pictures.
    *_std: standard deviations between splits, which are not errors of the means: splits share their rows.
    """

    value: float
    ceiling: float
    floor: float
    value_std: float
    ceiling_std: float
    floor_std: float


@dataclass(frozen=True)
class SetComparison:
    """Distances by name.  rows: N, in every set.  splits: how many times the real pictures were split."""

    distances: dict[str, ComparedDistance]
    rows: int
    splits: int


@dataclass(frozen=True)
class DistributionMetric:
    """interval: of the value.  excess_interval: of the value less the ceiling. None where pictures are too few."""

    name: str
    value: float
    ceiling: float
    floor: float
    interval: tuple[float, float] | None
    excess_interval: tuple[float, float] | None

    @property
    def excess(self) -> float:
        """The value less the ceiling."""
        return self.value - self.ceiling


def set_distances(reference: Floats, other: Floats) -> dict[str, float]:
    """Fréchet and kernel distance, precision, recall, density and coverage (k = 5) by name."""
    neighbourhoods = precision_recall(reference, other)
    return {
        FRECHET: frechet_distance(reference, other).value,
        KERNEL: kernel_distance(reference, other).value,
        "precision": neighbourhoods.precision,
        "recall": neighbourhoods.recall,
        "density": neighbourhoods.density,
        "coverage": neighbourhoods.coverage,
    }


def compare_sets(
    others: npt.ArrayLike,
    generated: npt.ArrayLike,
    prompted: npt.ArrayLike,
    distances: SetDistances = set_distances,
    seed: int = 0,
    splits: int = 5,
    groups: npt.ArrayLike | None = None,
) -> SetComparison:
    """Value, ceiling and floor of all distances, at equal N.

    others: (R, D) real pictures of no prompt, which are split into reference and floor.
    generated: (M, D).  prompted: (M, D) the real pictures of the same prompts, in the same order.
    groups: (R,) ids; those of one id stay on one side, see `split_half`.  splits: over which the numbers are means.
    N is half of R, or M where that is less; if M is more, N of them are chosen at random.
    Raises ValueError as `split_half` and `distances` do, or for other shapes.
    """
    real, made = as_pair(others, generated)
    same = as_rows(prompted, name="the real pictures of the prompts")
    if same.shape != made.shape:
        raise ValueError(f"the real pictures of the prompts must be {made.shape}, not {same.shape}")
    if splits < 1:
        raise ValueError(f"splits must be 1 or more, not {splits}")
    found: dict[str, list[tuple[float, float, float]]] = {}
    rows = 0
    for split in range(splits):
        reference, floor, chosen = _sides(len(real), len(made), seed, groups, split)
        rows = len(chosen)
        numbers = [distances(real[reference], other) for other in (made[chosen], same[chosen], real[floor])]
        for name in numbers[0]:
            found.setdefault(name, []).append((numbers[0][name], numbers[1][name], numbers[2][name]))
    compared = {}
    for name, triples in found.items():
        table = np.array(triples)
        compared[name] = ComparedDistance(*table.mean(axis=0).tolist(), *table.std(axis=0).tolist())
    return SetComparison(compared, rows, splits)


def distribution_metrics(
    others: npt.ArrayLike,
    generated: npt.ArrayLike,
    prompted: npt.ArrayLike,
    groups: Sequence[str],
    prompt_groups: Sequence[str],
    seed: int = 0,
) -> tuple[list[DistributionMetric], int]:
    """All metrics, and N; none where pictures are too few.

    others, generated, prompted, groups: as for `compare_sets`.  prompt_groups: M ids; prompts of one id are left out
    together by the jackknife. Values are means over the splits, errors the jackknife's of the first split.
    """
    real, made = as_pair(others, generated)
    if min(len(real) // 2, len(made)) < LEAST or len(Clusters.of(len(real), list(groups))) < 2:
        return [], 0
    reference, _, chosen = _sides(len(real), len(made), seed, list(groups), 0)
    if len(chosen) < LEAST:
        return [], 0
    compared = compare_sets(real, made, prompted, seed=seed, groups=list(groups))
    metrics = [
        DistributionMetric(name, one.value, one.ceiling, one.floor, None, None)
        for name, one in compared.distances.items()
    ]
    ids = [[groups[row] for row in reference], [prompt_groups[row] for row in chosen]]
    blocks = min(_BLOCKS, *(len(set(one)) for one in ids))
    if blocks >= 5 and len(chosen) > 2 * LEAST:
        pairs = np.concatenate([made, as_rows(prompted)], axis=1)[chosen]
        errors = jackknife_each(_value_and_excess, (real[reference], pairs), blocks, seed, groups=ids)
        metrics = [_with_intervals(one, errors[one.name], errors[f"{one.name} excess"]) for one in metrics]
    return metrics, compared.rows


def _sides(
    real: int, generated: int, seed: int, groups: npt.ArrayLike | None, split: int
) -> tuple[Indices, Indices, Indices]:
    """Rows of the reference, of the floor and of the prompts, N of each."""
    reference, floor = split_half(real, seed, groups, split)
    count = min(len(reference), generated)
    chosen = (reference, floor, np.arange(generated))
    first, second, third = (
        rows if len(rows) == count else np.sort(rows[permutation(len(rows), seed, 2 * split + 1)[:count]])
        for rows in chosen
    )
    return first, second, third


def _value_and_excess(reference: Floats, pairs: Floats) -> dict[str, float]:
    """Every distance, and how much it is above that of the real pictures. pairs: (N, 2 D), generated beside real."""
    half = pairs.shape[1] // 2
    values, ceilings = set_distances(reference, pairs[:, :half]), set_distances(reference, pairs[:, half:])
    return values | {f"{name} excess": values[name] - ceilings[name] for name in values}


def _with_intervals(
    metric: DistributionMetric, value: JackknifeInterval, excess: JackknifeInterval
) -> DistributionMetric:
    """The metric with errors that the jackknife found on one split."""
    if not value.error:  # a proportion of all or none has no error to report
        return metric
    least = -np.inf if metric.name == KERNEL else 0.0
    most = 1.0 if metric.name in _PROPORTIONS else np.inf
    low, high = _around(metric.value, value)
    return replace(metric, interval=(max(low, least), min(high, most)), excess_interval=_around(metric.excess, excess))


def _around(value: float, estimate: JackknifeInterval) -> tuple[float, float]:
    """An interval as wide as the estimate's, around a mean over splits."""
    return value - (estimate.value - estimate.low), value + (estimate.high - estimate.value)
