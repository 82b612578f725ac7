"""Low-rank changes of weight matrices (LoRA): W + B·A with few columns in B and few rows in A."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

LoRAWeights = dict[str, tuple[Tensor, Tensor]]
"""Name of a weight -> A (rank, in) and B (out, rank)."""


class LoRA(nn.Module):
    """A weight plus B·A, of which only A and B are trained. B starts at zero.

    weight: (out, in).
    rank: rows of A and columns of B.
    generator: for the initial A.
    Source: Hu et al. 2021 (LoRA), section 4.1.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(rank, columns, generator=generator) / columns**0.5)
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (out, in), not changed.  Returns as weight."""
        return weight + (self.b @ self.a).to(weight.dtype)


def add_lora(network: nn.Module, rank: int, seed: int = 0) -> list[nn.Parameter]:
    """Add a low-rank change to the linear layers of the transformer blocks, in place; freeze everything else.

    network: its linear layers in modules named `blocks` are changed, if both their sides are at least 4·rank.
    rank: of each change.
    seed: for the initial values.
    Returns the trainable parameters.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    trainable: list[nn.Parameter] = []
    for name, layer in list(network.named_modules()):
        inside = "blocks" in name.split(".")
        if inside and isinstance(layer, nn.Linear) and min(layer.weight.shape) >= 4 * rank:
            change = LoRA(layer.weight, rank, generator).to(layer.weight.device)
            parametrize.register_parametrization(layer, "weight", change)
            trainable += [change.a, change.b]
    return trainable


def lora_weights(network: nn.Module) -> LoRAWeights:
    """Copies of the changes that `add_lora` made, by the name of the weight in the network without them."""
    out: LoRAWeights = {}
    for name, module in network.named_modules():
        if isinstance(module, LoRA):
            layer = name.removesuffix(".parametrizations.weight.0")
            out[f"{layer}.weight"] = (module.a.detach().clone(), module.b.detach().clone())
    return out


@torch.no_grad()
def merge_lora(network: nn.Module, deltas: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Add the changes to the weights, in place.

    deltas: A and B by the name of the weight.
    Raises ValueError for names or shapes that the network does not have.
    """
    weights = dict(network.named_parameters())
    for name, (a, b) in deltas.items():
        weight = weights.get(name)
        if weight is None or a.ndim != 2 or b.ndim != 2 or weight.shape != (len(b), a.shape[1]) or len(a) != b.shape[1]:
            raise ValueError(f"a change of {name} does not fit this network")
        weight.add_((b.float() @ a.float()).to(weight))
