"""How close decoded pictures are to the originals: PSNR, structural similarity, and the error of alpha."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from unstir.evaluate.statistics.arrays import Floats
from unstir.models.pixels import on_white

Bytes = NDArray[np.uint8]

WINDOW, DEVIATION = 11, 1.5
"""Of the Gaussian window of the structural similarity. Source: Wang et al. 2004, section III.B."""


@dataclass(frozen=True)
class Reconstruction:
    """Means over pictures.

    psnr: in dB, over white.
    ssim: structural similarity, over white; 1 for equal pictures.
    alpha: mean absolute error of alpha, as a fraction of its range; 0 for opaque pictures.
    n: pictures.
    """

    psnr: float
    ssim: float
    alpha: float
    n: int


def reconstruction_of(real: Bytes, made: Bytes) -> Reconstruction:
    """Compare pictures with their reconstructions. real, made: (N, H, W, C) uint8, straight alpha."""
    a, b = on_white(real), on_white(made)
    alpha = 0.0
    if real.shape[-1] == 4:
        alpha = float(np.abs(real[..., 3].astype(float) - made[..., 3]).mean() / 255)
    similar = [ssim(x, y) for x, y in zip(a, b, strict=True)]
    return Reconstruction(float(psnr(a, b).mean()), float(np.mean(similar)), alpha, len(real))


def psnr(real: Bytes, made: Bytes) -> Floats:
    """The peak signal-to-noise ratio of each picture in dB, at most 100. real, made: (N, H, W, C) uint8.

    Returns (N,).
    """
    difference = real.astype(np.float64) - made
    error = np.square(difference).mean(axis=(1, 2, 3))
    ratio: Floats = 10 * np.log10(255**2 / np.maximum(error, 255**2 * 1e-10))
    return ratio


def ssim(real: Bytes, made: Bytes) -> float:
    """The mean structural similarity of two pictures, over channels and all positions of a window that fits.

    real, made: (H, W, C) uint8, sides of WINDOW at least; smaller pictures have a window of the odd side that fits.
    Source: Wang et al. 2004, eq. 13, with Gaussian weights.
    """
    side = min(WINDOW, (min(real.shape[:2]) - 1) // 2 * 2 + 1)
    x, y = real.astype(np.float64) / 255, made.astype(np.float64) / 255
    at = np.arange(side) - side // 2
    weights = np.exp(-np.square(at) / (2 * DEVIATION**2))
    weights /= weights.sum()

    def mean(values: Floats) -> Floats:
        for axis in (0, 1):
            values = sliding_window_view(values, side, axis=axis) @ weights
        return values

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(value.mean())
