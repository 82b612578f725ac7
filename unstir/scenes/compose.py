"""Painting planned scenes from drawings on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.scenes.scene import SLOTS, Scene


class SceneArrays(NamedTuple):
    """A batch of scenes as arrays.

    rows: (B, SLOTS) int64, the drawings; -1 where empty.
    warps: (B, SLOTS, 3) float32, scale, x, y.
    backgrounds: (B, 4) float32, RGB in [0, 1], and 1 if there is a background.
    """

    rows: np.ndarray
    warps: np.ndarray
    backgrounds: np.ndarray


def scene_arrays(scenes: Sequence[Scene]) -> SceneArrays:
    """Scenes as arrays."""
    rows = np.full((len(scenes), SLOTS), -1, np.int64)
    warps = np.tile(np.array([1, 0, 0], np.float32), (len(scenes), SLOTS, 1))
    backgrounds = np.zeros((len(scenes), 4), np.float32)
    for i, scene in enumerate(scenes):
        for j, placed in enumerate(scene.placed):
            rows[i, j] = placed.row
            warps[i, j] = placed.scale, placed.x, placed.y
        if scene.background is not None:
            backgrounds[i] = *(c / 255 for c in scene.background), 1
    return SceneArrays(rows, warps, backgrounds)


def compose(pixels: Tensor, planned: SceneArrays) -> Tensor:
    """Paint scenes, by bilinear sampling in premultiplied colours.

    pixels: (N, S, S, 4) uint8, straight alpha, on the device.
    planned: the scenes; drawings are never enlarged.
    Returns (B, 4, S, S) in [-1, 1], premultiplied.
    """
    device = pixels.device
    warped = (planned.warps != np.array([1, 0, 0], np.float32)).any((1, 2))
    special = np.flatnonzero(warped | (planned.backgrounds[:, 3] > 0) | (planned.rows[:, 1] >= 0))
    out = _premultiplied(pixels[to_device(planned.rows[:, 0], device)])
    if len(special):
        out[to_device(special, device)] = _painted(pixels, SceneArrays(*(part[special] for part in planned)))
    return out * 2 - 1


def _painted(pixels: Tensor, planned: SceneArrays) -> Tensor:
    device, side = pixels.device, pixels.shape[1]
    rows = to_device(planned.rows.clip(min=0), device)
    there = to_device((planned.rows >= 0).astype(np.float32), device)
    warps, background = to_device(planned.warps, device), to_device(planned.backgrounds, device)
    canvas = background[:, :, None, None].expand(-1, 4, side, side)
    canvas = torch.cat([canvas[:, :3] * canvas[:, 3:], canvas[:, 3:]], dim=1)
    for slot in range(SLOTS):
        top = _warped(_premultiplied(pixels[rows[:, slot]]), warps[:, slot]) * there[:, slot, None, None, None]
        canvas = top + (1 - top[:, 3:]) * canvas
    return canvas


def _warped(x: Tensor, warp: Tensor) -> Tensor:
    """Pictures shifted and scaled: canvas = scale · picture + offset; transparent outside.

    x: (B, 4, S, S).
    warp: (B, 3), scale and offset.
    """
    scale, dx, dy = warp.unbind(1)
    # grid_sample needs the inverse, in coordinates of [-1, 1]: u = 2p - 1, p = (q - d)/s with q = (v + 1)/2.
    zero = torch.zeros_like(scale)
    theta = torch.stack(
        [
            torch.stack([1 / scale, zero, (1 - 2 * dx) / scale - 1], 1),
            torch.stack([zero, 1 / scale, (1 - 2 * dy) / scale - 1], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _premultiplied(pixels: Tensor) -> Tensor:
    """uint8 (B, S, S, 4), straight -> float32 (B, 4, S, S) in [0, 1], premultiplied."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    return torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the device, copied asynchronously."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
