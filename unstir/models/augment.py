"""Data augmentation: small random changes of pictures under which their captions stay true."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

JITTER_PARAMETERS = 4
"""How many random numbers `jitter` needs for each picture."""


def jitter(
    x0: Tensor,
    uniform: Tensor,
    scale: tuple[float, float] = (0.8, 1.15),
    shift: float = 0.08,
    turn: float = 8.0,
) -> Tensor:
    """Scale, rotate and shift each picture a little, by bilinear interpolation.

    Beyond its edge a picture with alpha is transparent, one without repeats its edge.

    x0: (B, C, S, S) in [-1, 1], premultiplied if C = 4.
    uniform: (JITTER_PARAMETERS, B) in [0, 1), the random numbers.
    scale: smallest and largest factor of the size.
    shift: largest shift along each axis, as a fraction of the side.
    turn: largest rotation either way, in degrees.
    Returns as x0.
    """
    least, most = scale
    size = least + (most - least) * uniform[0]
    angle = math.radians(turn) * (2 * uniform[1] - 1)
    # Coordinates run from -1 to 1 over the side, so a fraction s of the side is 2 s.
    right, down = 2 * shift * (2 * uniform[2:4] - 1)[:, :, None, None]
    # Not by affine_grid: under autocast its matrix product would round coordinates to quarters of a pixel.
    side = x0.shape[-1]
    along = (2 * torch.arange(side, device=x0.device) + 1) / side - 1
    x, y = along[None, None, :] - right, along[None, :, None] - down
    cos, sin = (angle.cos() / size)[:, None, None], (angle.sin() / size)[:, None, None]
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
    padding = "zeros" if x0.shape[1] == 4 else "border"
    # Transparent black is -1 everywhere: lifted by 1 it is the zero that grid_sample pads with.
    return F.grid_sample(x0 + 1, grid, mode="bilinear", padding_mode=padding, align_corners=False) - 1
