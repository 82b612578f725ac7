"""The optimiser of one part of a model: Muon for the matrices inside blocks, AdamW for the rest."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unstir.nn.init import hidden_matrices
from unstir.train.config import TrainPart
from unstir.train.muon import Muon


class Optimiser:
    """One or two torch optimisers with one state, a flat dictionary of tensors as safetensors files need it.

    part: the module whose trainable parameters are updated; its network names the matrices for Muon
        (`nn.init.hidden_matrices`).
    config: of the part.
    """

    def __init__(self, part: nn.Module, config: TrainPart) -> None:
        named = [(name, p) for name, p in part.named_parameters() if p.requires_grad]
        chosen = set(hidden_matrices(part)) if config.optimiser == "muon" else set()
        matrices = [(n, p) for n, p in named if n in chosen]
        rest = [(n, p) for n, p in named if n not in chosen]
        self._optimisers: list[tuple[torch.optim.Optimizer, list[str], float]] = []
        if matrices:
            muon = Muon([p for _, p in matrices], lr=config.muon_lr, weight_decay=config.weight_decay)
            self._optimisers.append((muon, [n for n, _ in matrices], config.muon_lr))
        if rest:
            adamw = torch.optim.AdamW(
                [p for _, p in rest],
                lr=config.adamw_lr,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,
            )
            self._optimisers.append((adamw, [n for n, _ in rest], config.adamw_lr))

    def step(self, lr_factor: float) -> None:
        """One update.

        lr_factor: the learning rate as a fraction of its peak.
        """
        for optimiser, _, peak in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * lr_factor
            optimiser.step()

    def _slots(self) -> Iterator[tuple[str, dict[str, Tensor], nn.Parameter]]:
        for optimiser, names, _ in self._optimisers:
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            for name, parameter in zip(names, parameters, strict=True):
                yield name, optimiser.state[parameter], parameter

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on: "<parameter>/<quantity>" -> tensor."""
        return {
            f"{name}/{key}": value
            for name, slots, _ in self._slots()
            for key, value in slots.items()
            if isinstance(value, Tensor)
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state that `state` returned."""
        by_name: dict[str, dict[str, Tensor]] = {}
        for path, value in state.items():
            name, _, key = path.rpartition("/")
            by_name.setdefault(name, {})[key] = value
        for name, slots, parameter in self._slots():
            for key, value in by_name.get(name, {}).items():
                # On the parameter's device: fused AdamW keeps even its step counter there.
                slots[key] = value.clone().to(parameter.device)
