"""A proportion with Wilson's score interval."""

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Proportion:
    """`successes` of `total`.

    value: successes / total.  low, high: its interval.  chance: what guessing reaches, if known.
    """

    successes: int
    total: int
    value: float
    low: float
    high: float
    chance: float | None = None


def wilson_interval(successes: int, total: int, chance: float | None = None, level: float = 0.95) -> Proportion:
    """A proportion with Wilson's interval, which keeps its level for few trials and near 0 and 1.

    The trials count as independent.
    Raises ValueError unless 0 <= successes <= total, total >= 1 and 0 < level < 1.
    Source: Wilson 1927.
    """
    if not 0 <= successes <= total or total < 1 or not 0 < level < 1:
        raise ValueError(f"{successes} of {total} at level {level} is not a proportion")
    z = NormalDist().inv_cdf((1 + level) / 2)
    value, weight = successes / total, z * z / total
    centre = (value + weight / 2) / (1 + weight)
    half = z * math.sqrt(value * (1 - value) / total + weight / (4 * total)) / (1 + weight)
    # At the ends the bounds are 0 and 1 exactly; rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(centre - half, 0.0)
    high = 1.0 if successes == total else min(centre + half, 1.0)
    return Proportion(successes, total, value, low, high, chance)
