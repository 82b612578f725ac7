"""Starting values of weights: a function of the seed and the parameter's name, not of the order of construction."""

import math
import zlib
from collections.abc import Iterator

import torch
from torch import nn


def init_zero(layer: nn.Module) -> None:
    """Mark a layer whose weight starts at zero, so that the residual branch it ends begins as the identity."""
    layer.starts_at_zero = True  # type: ignore[assignment]


def init_constant(layer: nn.Module, **values: float) -> None:
    """Mark parameters of this layer, by their names, that start at a value of their own, such as a temperature."""
    layer.own_starts = values  # type: ignore[assignment]


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Fill every parameter: matrices and kernels Gaussian with variance 1/fan_in, embeddings with std 0.02,
    norms with one, biases, tables and the layers marked by `init_zero` with zero, what `init_constant` names
    as it says.

    fan_in: the product of all dimensions but the first. Source: LeCun et al. 1998, section 4.6.
    """
    for path, module in network.named_modules():
        own = getattr(module, "own_starts", {})
        for name, parameter in module.named_parameters(recurse=False):
            if name in own:
                parameter.fill_(own[name])
            elif getattr(module, "starts_at_zero", False) or (parameter.ndim < 2 and name != "weight"):
                parameter.zero_()
            elif isinstance(module, nn.RMSNorm | nn.GroupNorm | nn.LayerNorm):
                parameter.fill_(1)
            elif name == "table":
                parameter.zero_()
            else:
                # torch's generator on the CPU reads the low 32 bits of its seed and no others: both must be in those.
                key = zlib.crc32(f"{path}.{name}".encode(), seed & 0xFFFFFFFF)
                generator = torch.Generator().manual_seed(key)
                std = 0.02 if isinstance(module, nn.Embedding) or name == "position" else _fan_in_std(parameter)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _fan_in_std(parameter: nn.Parameter) -> float:
    return 1 / math.sqrt(math.prod(parameter.shape[1:]))


MIN_MATRIX = 16
"""Rows and columns below which a matrix is not worth making orthogonal."""


def hidden_matrices(network: nn.Module) -> Iterator[str]:
    """Names of the matrices between hidden widths: what Muon takes.

    A class of layers says by the attribute `hidden_matrices = True` that the weights below it are such. Embeddings,
    tables, the first and the last layer have other geometry and stay with AdamW. Source: Jordan et al. 2024.
    """
    found: dict[str, nn.Parameter] = {}
    for path, module in network.named_modules():
        if getattr(module, "hidden_matrices", False):
            found.update((f"{path}.{name}" if path else name, p) for name, p in module.named_parameters())
    for name, parameter in found.items():
        if name.endswith("weight") and parameter.ndim == 2 and min(parameter.shape) >= MIN_MATRIX:
            yield name
