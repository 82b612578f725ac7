"""So many of so many, and what that says of the share behind it."""

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Share:
    """`right` of `total`.  value: the share.  low, high: its interval.  chance: what guessing reaches, if known."""

    right: int
    total: int
    value: float
    low: float
    high: float
    chance: float | None = None


def share(right: int, total: int, chance: float | None = None, level: float = 0.95) -> Share:
    """A share with Wilson's interval, which holds its level for few trials and near 0 and 1. Source: Wilson 1927.

    The trials count as independent. Raises ValueError unless 0 <= right <= total, total >= 1 and 0 < level < 1.
    """
    if not 0 <= right <= total or total < 1 or not 0 < level < 1:
        raise ValueError(f"{right} of {total} at level {level} is no share")
    z = NormalDist().inv_cdf((1 + level) / 2)
    value, weight = right / total, z * z / total
    middle = (value + weight / 2) / (1 + weight)
    reach = z * math.sqrt(value * (1 - value) / total + weight / (4 * total)) / (1 + weight)
    # At the ends the bounds are 0 and 1 exactly; rounding would leave 1e-17.
    low = 0.0 if right == 0 else max(middle - reach, 0.0)
    high = 1.0 if right == total else min(middle + reach, 1.0)
    return Share(right, total, value, low, high, chance)
