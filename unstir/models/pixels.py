"""Pixels as files have them (uint8, straight alpha) and as models have them (floats in [-1, 1], premultiplied alpha).

With premultiplied alpha the colour of a transparent pixel is defined (black), and averages of pixels have no fringes.
Source: Porter and Duff 1984.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def to_model(pixels: Tensor) -> Tensor:
    """From files to models.

    pixels: (B, H, W, 3 or 4) uint8, straight alpha.
    Returns (B, C, H, W) float32 in [-1, 1], premultiplied.
    """
    x = pixels.permute(0, 3, 1, 2).float() / 255
    if x.shape[1] == 4:
        x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)
    return x * 2 - 1


def to_pixels(x: Tensor) -> Tensor:
    """From models to files. Where alpha rounds to 0 the colour is 0 too.

    x: (B, 3 or 4, H, W) floats, premultiplied; values beyond [-1, 1] are clipped.
    Returns (B, H, W, C) uint8, straight alpha.
    """
    x = (x.float().clamp(-1, 1) + 1) / 2
    if x.shape[1] == 4:
        alpha = x[:, 3:]
        visible = (alpha * 255).round() > 0
        colour = torch.where(visible, (x[:, :3] / alpha.clamp(min=0.5 / 255)).clamp(max=1), 0)
        x = torch.cat([colour, alpha], dim=1)
    return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures laid over white. pixels: (..., 3 or 4) uint8, straight alpha.  Returns (..., 3) uint8."""
    if pixels.shape[-1] == 3:
        return pixels
    colour, alpha = pixels[..., :3].astype(np.float32), pixels[..., 3:].astype(np.float32) / 255
    return np.round(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)


def with_channels(x: Tensor, channels: int) -> Tensor:
    """Pictures with 3 or 4 channels: transparent ones are laid over white, opaque ones get an alpha of 1.

    x: (B, 3 or 4, H, W) in [-1, 1], premultiplied.
    channels: 3 or 4.
    """
    match x.shape[1], channels:
        case 4, 3:
            return x[:, :3] + (1 - x[:, 3:])
        case 3, 4:
            return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    return x


def resized(x: Tensor, side: int) -> Tensor:
    """Square pictures at another size.

    When they shrink, each pixel is the mean of those that it replaces, or, where S is no multiple of `side`, of those
    that it touches. When they grow, they are interpolated bilinearly.

    x: (B, C, S, S), premultiplied.
    side: the wanted S.
    Returns (B, C, side, side).
    """
    size = x.shape[-1]
    if side == size:
        return x
    if size % side == 0:
        return F.avg_pool2d(x, size // side)
    if side < size:
        return F.adaptive_avg_pool2d(x, side)
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
