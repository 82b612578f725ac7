"""Likelihood: the bits per dimension of real pictures, seen in training and held out.

How many bits a picture needs depends on its style far more than on whether training showed it: a line drawing needs
fewer than a shaded one. So the two sides are compared on pairs of one style (`style_matched_pairs`), and the
difference is read with its interval.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.evaluate.statistics.arrays import Floats, Indices
from unstir.evaluate.statistics.bootstrap import BootstrapInterval, bootstrap_interval
from unstir.models.generative import LikelihoodModel, OdeLikelihoodModel

BitsPerDim = Callable[[Pictures, Sequence[int], Callable[[float], None]], Floats]
"""(N pictures, a seed for each, called with how many are done) -> (N,) an upper bound on their bits per dimension."""

COUNT = 64
"""Pictures of either side."""

UNIFORM_NOISE = 8.0
"""Bits per dimension of a model that knows nothing."""


@dataclass(frozen=True)
class LikelihoodComparison:
    """Mean bits per dimension, with intervals over pictures.

    held_out, difference: None where nothing is held out.  difference: held out less seen, pair by pair.
    """

    seen: BootstrapInterval
    held_out: BootstrapInterval | None
    difference: BootstrapInterval | None


def bits_per_dim_of(model: LikelihoodModel) -> BitsPerDim:
    """`BitsPerDim` of a model whose weights should be float32: bf16 lacks the digits for the last levels."""
    return _measured_by(model.picture_bits)


def ode_bits_of(model: OdeLikelihoodModel) -> BitsPerDim:
    """The same by the probability flow of the model."""
    return _measured_by(model.ode_bits)


def _measured_by(measure: Callable[[torch.Tensor, list[str], Sequence[int]], Iterator[float]]) -> BitsPerDim:
    def bits(pictures: Pictures, seeds: Sequence[int], done: Callable[[float], None]) -> Floats:
        pixels = torch.from_numpy(np.array(pictures.pixels))
        values = np.empty(len(pixels))
        for row, value in enumerate(measure(pixels, [ways[0] for ways in pictures.captions], seeds)):
            values[row] = value
            done(row + 1)
        return values

    return bits


def style_matched_pairs(
    held_out: Sequence[Hashable], seen: Sequence[Hashable], count: int = COUNT
) -> tuple[Indices, Indices]:
    """Up to `count` pairs of a held-out and a seen picture of one style, none of them twice.

    held_out, seen: the styles of the pictures of either side, in random order; None for an unknown style.
    Returns two arrays of row numbers, (P,) each, P <= count.
    """
    free: dict[Hashable, list[int]] = {}
    for row in reversed(range(len(seen))):
        free.setdefault(seen[row], []).append(row)
    pairs: list[tuple[int, int]] = []
    for row, style in enumerate(held_out):
        if len(pairs) == count:
            break
        if free.get(style):
            pairs.append((row, free[style].pop()))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def compare_likelihood(seen: Floats, held_out: Floats | None, groups: Sequence[str]) -> LikelihoodComparison:
    """Means and paired difference of the bits per dimension of P pairs.

    seen, held_out: (P,), or None for no held-out pictures.
    groups: P ids; pairs of one id are drawn together in the bootstrap.
    """

    def interval(values: Floats) -> BootstrapInterval:
        return bootstrap_interval(lambda rows: float(rows.mean()), [values], groups=[groups])

    if held_out is None:
        return LikelihoodComparison(interval(seen), None, None)
    return LikelihoodComparison(interval(seen), interval(held_out), interval(held_out - seen))
