"""Pixels as files have them (uint8, straight alpha) and as models see them (floats in [-1, 1], premultiplied alpha).

Premultiplied, the colour of a transparent pixel is defined (black), and mixing pictures with noise or with each other
leaves no fringes. Source: Porter and Duff 1984.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def to_model(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, 3 or 4), straight alpha -> float32 (B, C, H, W) in [-1, 1], premultiplied."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    if x.shape[1] == 4:
        x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)
    return x * 2 - 1


def to_pixels(x: Tensor) -> Tensor:
    """Float (B, 3 or 4, H, W), premultiplied, clamped to [-1, 1] -> uint8 (B, H, W, C), straight alpha.

    Where alpha rounds to 0 the colour is 0 too.
    """
    x = (x.float().clamp(-1, 1) + 1) / 2
    if x.shape[1] == 4:
        alpha = x[:, 3:]
        visible = (alpha * 255).round() > 0
        colour = torch.where(visible, (x[:, :3] / alpha.clamp(min=0.5 / 255)).clamp(max=1), 0)
        x = torch.cat([colour, alpha], dim=1)
    return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def resized(x: Tensor, side: int) -> Tensor:
    """Square pictures (B, C, S, S), premultiplied, as (B, C, side, side).

    Smaller ones are averages: each pixel is the mean of those that it replaces, or, where S is no multiple of `side`,
    of those that it touches. Larger ones are interpolated linearly.
    """
    size = x.shape[-1]
    if side == size:
        return x
    if size % side == 0:
        return F.avg_pool2d(x, size // side)
    if side < size:
        return F.adaptive_avg_pool2d(x, side)
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
