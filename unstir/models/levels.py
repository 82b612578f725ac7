"""The grid of levels that a model of discrete pixels knows: exact maps between stored values and numbers of levels.

A picture is stored as H·W·C values of 256. Often it uses fewer: digits have 17 shades of grey, evenly spaced, in three
equal channels. A model of the 17 levels of one channel neither spends probability on values that never occur nor
counts a value three times.
"""

import math

import torch
from torch import Tensor

from unstir.models.pixels import to_model, to_pixels

STORED = 256
"""Values that a byte can have."""

FEW = 64
"""Most levels that are looked for. With more, a few values lie on some grid by chance, and little is gained."""

ESCAPE = 1e-6
"""The probability, for each value of the grid, that a picture has another one in its place. It makes the likelihood of
every picture finite, and costs 1.4e-6 bits a value."""


def level_values(levels: int) -> Tensor:
    """The stored value of each level, rint(255·k/(levels - 1)). Returns (levels,) float64; ties are rounded to even."""
    return (255 * torch.arange(levels, dtype=torch.float64) / (levels - 1)).round()


def stored_values(pixels: Tensor) -> Tensor:
    """The numbers that likelihoods are about: premultiplied, rounded to 256 values.

    pixels: (B, H, W, C) uint8, straight alpha.
    Returns (B, C, H, W) int64 in 0 … 255.
    """
    if pixels.shape[-1] < 4:
        return pixels.permute(0, 3, 1, 2).long()
    return ((to_model(pixels) + 1) * (255 / 2)).round().long()


def to_levels(stored: Tensor, levels: int, grey: bool) -> Tensor:
    """The nearest level of each value.

    stored: (B, C, H, W) int64, from `stored_values`.
    grey: the channels are equal, and only the first is read.
    Returns (B, C or 1, H, W) int64 in 0 … levels-1. For values of `level_values` this is exact.
    """
    read = stored[:, :1] if grey else stored
    return (2 * read * (levels - 1) + 255) // 510


def level_pixels(numbers: Tensor, levels: int, channels: int) -> Tensor:
    """Pictures of levels.

    numbers: (B, C or 1, H, W) int64; one channel is repeated.
    channels: of the pictures, 3 or 4.
    Returns (B, H, W, channels) uint8, straight alpha.
    """
    stored = level_values(levels).to(numbers.device)[numbers].expand(-1, channels, -1, -1)
    return to_pixels(stored * (2 / 255) - 1)


def escape_nats(stored: Tensor, levels: int, grey: bool) -> Tensor:
    """What it costs to say which of the stored values that are nearest to its level a picture has.

    The level's own value has probability 1 - ESCAPE, the others share the rest evenly; for a grey picture they are all
    the colours whose first channel is nearest to the level. Together with the probability of the levels this is a
    distribution over all pictures.
    stored: (B, C, H, W) int64.
    Returns (B,) float64, in nats. 0 where every value is a level and no channel is repeated.
    """
    if levels == STORED and not grey:
        return torch.zeros(len(stored), dtype=torch.float64, device=stored.device)
    numbers = to_levels(stored, levels, grey)
    nearest = to_levels(torch.arange(STORED, device=stored.device)[:, None, None, None], levels, grey=False).flatten()
    others = torch.bincount(nearest, minlength=levels).double()
    exact = level_values(levels).to(stored.device).long()[numbers] == stored
    if grey:
        others, exact = others * STORED ** (stored.shape[1] - 1), exact.all(1, keepdim=True)
    others = (others - 1)[numbers]
    right = torch.where(others > 0, -math.log1p(-ESCAPE), 0.0)
    return torch.where(exact, right, others.clamp(min=1).log() - math.log(ESCAPE)).flatten(1).sum(1)


def evenly_spaced_levels(counts: Tensor) -> int:
    """The smallest number of evenly spaced levels that has all stored values that occur.

    counts: (256,), how often each occurs.
    Returns 2 … FEW, or 256.
    """
    occurring = counts.nonzero().flatten().double()
    for levels in range(2, FEW + 1):
        if torch.isin(occurring, level_values(levels)).all():
            return levels
    return STORED
