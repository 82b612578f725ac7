"""Weights as int8: each row of a matrix has whole numbers from -127 to 127 and one scale."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE_PREFIX = "scale/"
"""The prefix of the names of scales."""

MIN_QUANTIZED = 4096
"""Smaller tensors and vectors are stored as float16: they take few bytes, and norms and biases are sensitive."""


def quantize(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantise tensors of two or more dimensions to int8, with a scale for each entry of the first dimension.

    weights: by name.
    Returns int8 tensors, their scales (with SCALE_PREFIX), and all others as float16. The error of a weight is at most
    half a scale, 0.4 % of the largest weight in its row.
    """
    out: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach().to("cpu", torch.float32)
        if weight.ndim < 2 or weight.numel() < MIN_QUANTIZED:
            out[name] = weight.to(torch.float16).contiguous()
            continue
        rows = weight.reshape(len(weight), -1)
        scale = (rows.abs().amax(1) / 127).clamp(min=1e-12)
        out[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(weight.shape).contiguous()
        out[SCALE_PREFIX + name] = scale
    return out


def dequantize(weight: Tensor, scale: Tensor) -> Tensor:
    """The inverse of `quantize` for one weight.

    weight: int8, of two dimensions or more.
    scale: one number for each entry of the first dimension.
    Returns float32, of the shape of the weight. Raises ValueError for other dtypes or shapes.
    """
    if weight.dtype != torch.int8 or weight.ndim < 2 or scale.shape != weight.shape[:1]:
        raise ValueError(f"scales of shape {tuple(scale.shape)} do not go with {weight.dtype} {tuple(weight.shape)}")
    rows = weight.flatten(1).float() * scale.float()[:, None]
    return rows.reshape(weight.shape)
