"""Initial weights: a function of the seed and of the parameter's name, not of the order of construction."""

import math
import zlib
from collections.abc import Iterator

import torch
from torch import nn


def init_zero(layer: nn.Module) -> None:
    """Mark a layer for `initialise`: its weight starts at zero, so that a residual block begins as the identity."""
    layer.starts_at_zero = True  # type: ignore[assignment]


def init_constant(layer: nn.Module, **values: float) -> None:
    """Mark parameters of a layer for `initialise`: each starts at this constant, for example a temperature."""
    layer.initial_constants = values  # type: ignore[assignment]


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Fill every parameter of the network that is not frozen.

    matrices and kernels: Gaussian with variance 1/fan_in; fan_in is the product of all dimensions but the first.
    embeddings and positions: Gaussian with standard deviation 0.02.
    norms: 1.
    biases, tables and layers marked by `init_zero`: 0.
    parameters marked by `init_constant`: their constant.
    Source: LeCun et al. 1998, section 4.6.
    """
    for path, module in network.named_modules():
        constants = getattr(module, "initial_constants", {})
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name in constants:
                parameter.fill_(constants[name])
            elif getattr(module, "starts_at_zero", False) or (parameter.ndim < 2 and name != "weight"):
                parameter.zero_()
            elif isinstance(module, nn.RMSNorm | nn.GroupNorm | nn.LayerNorm):
                parameter.fill_(1)
            elif name == "table":
                parameter.zero_()
            else:
                # torch's CPU generator uses the low 32 bits of its seed only: name and seed must both be in them.
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
