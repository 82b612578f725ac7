"""How many bits a model needs for each number of real pictures, seen and held out."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.diffusion.chain import Bound
from unstir.evaluate.report import Row
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.pixels import to_model

Bits = Callable[[Pictures, Sequence[int]], Bound]
"""(pictures, a seed for each) -> the bound on their bits per dimension."""

COUNT = 16
"""Pictures of either side: the network looks a hundred times at each, which is as much as for two drawn ones."""

UNIFORM = 8.0
_LEVELS = 255


def bits_of(model: Diffusion) -> Bits:
    """`Bits` of a diffusion model, whose weights should be float32: bf16 has not the digits for the last levels.

    The numbers of a transparent picture are its premultiplied ones, rounded to 256 levels as the bound wants them.
    """

    def bits(pictures: Pictures, seeds: Sequence[int]) -> Bound:
        x0 = to_model(torch.from_numpy(np.array(pictures.pixels)).to(model.device))
        x0 = ((x0 + 1) * (_LEVELS / 2)).round() * (2 / _LEVELS) - 1
        ids = model.tokenize([ways[0] for ways in pictures.captions])
        return model.bits_per_dim(Batch(x0, ids), seeds)

    return bits


def row(name: str, bound: Bound) -> Row:
    """A row with the interval of its standard error; noise that knows nothing needs 8 bits."""
    reach = 1.96 * bound.standard_error
    return Row(name=name, value=bound.total, interval=(bound.total - reach, bound.total + reach), chance=UNIFORM)
