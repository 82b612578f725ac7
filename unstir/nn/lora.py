"""Small changes of large matrices: W + B·A with few columns in B and few rows in A."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

LoRAWeights = dict[str, tuple[Tensor, Tensor]]
"""Name of a weight -> A (rank, in) and B (out, rank)."""


class LoRA(nn.Module):
    """The weight plus B·A, where only A and B learn. B starts at zero. Source: Hu et al. 2021 (LoRA), section 4.1."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(rank, columns, generator=generator) / columns**0.5)
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (out, in), which stays as it is."""
        return weight + (self.b @ self.a).to(weight.dtype)


def add_lora(network: nn.Module, rank: int, seed: int = 0) -> list[nn.Parameter]:
    """Give every linear layer within `blocks` that is four times as wide and high a low-rank change; freeze the rest.

    Returns what learns. Deterministic.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    learning: list[nn.Parameter] = []
    for name, layer in list(network.named_modules()):
        inside = "blocks" in name.split(".")
        if inside and isinstance(layer, nn.Linear) and min(layer.weight.shape) >= 4 * rank:
            change = LoRA(layer.weight, rank, generator).to(layer.weight.device)
            parametrize.register_parametrization(layer, "weight", change)
            learning += [change.a, change.b]
    return learning


def lora_weights(network: nn.Module) -> LoRAWeights:
    """The changes that `add_lora` made and training filled, by the name of the weight in the plain network."""
    out: LoRAWeights = {}
    for name, module in network.named_modules():
        if isinstance(module, LoRA):
            layer = name.removesuffix(".parametrizations.weight.0")
            out[f"{layer}.weight"] = (module.a.detach().clone(), module.b.detach().clone())
    return out


@torch.no_grad()
def merge_lora(network: nn.Module, deltas: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Add the changes to the weights, for good. ValueError for names or shapes that the network does not have."""
    weights = dict(network.named_parameters())
    for name, (a, b) in deltas.items():
        weight = weights.get(name)
        if weight is None or a.ndim != 2 or b.ndim != 2 or weight.shape != (len(b), a.shape[1]) or len(a) != b.shape[1]:
            raise ValueError(f"a change of {name} does not fit this network")
        weight.add_((b.float() @ a.float()).to(weight))
