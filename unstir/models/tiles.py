"""Tiles: a map between pictures and latents, applied to large pictures piece by piece."""

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def tiled(change: Map, x: Tensor, tile: int, overlap: int, ratio: float) -> Tensor:
    """Apply a map to overlapping tiles of x and blend the results where they overlap.

    At the edge of a tile `change` lacks its surroundings; there its result weighs least.
    change: (B, C, h, w) -> (B, D, h·ratio, w·ratio), for any h and w up to `tile`.
    x: (B, C, H, W).
    tile: side of a tile, in positions of x.
    overlap: of neighbouring tiles, less than `tile`; the overlap times ratio is a whole number.
    ratio: of the sides of output and input.
    Returns (B, D, H·ratio, W·ratio). ValueError for an overlap that is too large.
    """
    height, width = x.shape[-2:]
    if not 0 <= overlap < tile:
        raise ValueError(f"the overlap of tiles must be 0 or more and less than {tile}, got {overlap}")
    if max(height, width) <= tile:
        return change(x)
    total: Tensor | None = None
    weights = torch.zeros(1, 1, round(height * ratio), round(width * ratio), device=x.device)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            out = change(x[..., top : top + tile, left : left + tile])
            down, across = _ramp(out.shape[-2], overlap, ratio, out), _ramp(out.shape[-1], overlap, ratio, out)
            weight = down[:, None] * across
            rows = slice(round(top * ratio), round(top * ratio) + out.shape[-2])
            columns = slice(round(left * ratio), round(left * ratio) + out.shape[-1])
            if total is None:
                total = out.new_zeros(*out.shape[:2], *weights.shape[-2:], dtype=torch.float32)
            total[..., rows, columns] += out.float() * weight
            weights[..., rows, columns] += weight
    assert total is not None
    return total / weights


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles begin; the last one ends at the end."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _ramp(length: int, overlap: int, ratio: float, like: Tensor) -> Tensor:
    """Weights of one tile along an axis: they rise from its edges to 1 over the overlap, and are never 0."""
    t = torch.arange(length, device=like.device) + 0.5
    edge = torch.minimum(t, length - t) / max(overlap * ratio, 1e-9)
    return edge.clamp(max=1.0)
