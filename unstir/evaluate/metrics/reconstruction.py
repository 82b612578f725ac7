"""How close decoded pictures are to the originals: PSNR, structural similarity, and the error of alpha."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from unstir.evaluate.statistics.arrays import Floats

Bytes = NDArray[np.uint8]

WINDOW, DEVIATION = 11, 1.5
"""Of the Gaussian window of the structural similarity. Source: Wang et al. 2004, section III.B."""


def alpha_error(real: Bytes, made: Bytes) -> Floats:
    """The mean absolute error of alpha of each picture, as a fraction of its range. real, made: (N, H, W, 4) uint8.

    Returns (N,).
    """
    error: Floats = np.abs(real[..., 3].astype(np.float64) - made[..., 3]).mean(axis=(1, 2)) / 255
    return error


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
