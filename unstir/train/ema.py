"""Exponential moving average of the weights, which gives better samples than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unstir.models.generative import Trainable
from unstir.train.config import TrainConfig


def trainable(model: Trainable) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def buffers(model: Trainable) -> dict[str, Tensor]:
    """The persistent buffers by name, such as an EMA codebook."""
    parameters = {name for name, _ in model.named_parameters()}
    return {name: value for name, value in model.state_dict().items() if name not in parameters}


class Average:
    """A moving average whose window grows with the run: it always covers the same fraction of the pictures seen.

    model: whose weights are averaged.
    config: `ema` of each part is the width of its window: the standard deviation relative to the pictures seen, about
        0.05 to 0.1. A part of width 0 has no average.
    weights: the averages, by name.
    Source: Karras et al. 2024 (EDM2), eq. 2 and 3, algorithm 2.
    """

    def __init__(self, model: Trainable, config: TrainConfig) -> None:
        names = {id(p): name for name, p in trainable(model).items()}
        self._groups: list[tuple[float, list[str]]] = []
        taken: set[str] = set()
        for part, module in model.parts().items():
            own = [names[id(p)] for p in module.parameters() if id(p) in names and names[id(p)] not in taken]
            taken.update(own)
            width = config.part(part).ema
            if width:
                self._groups.append((gamma_of(width), own))
        averaged = {name for _, own in self._groups for name in own}
        self.weights = {name: p.detach().clone() for name, p in trainable(model).items() if name in averaged}

    @torch.no_grad()
    def update(self, model: Trainable, images_seen: int, batch_size: int) -> None:
        """Add the current weights to the averages.

        images_seen: including the last batch.
        batch_size: of the last batch.
        """
        current = trainable(model)
        for gamma, names in self._groups:
            keep = (1 - batch_size / images_seen) ** (gamma + 1)
            averages, values = [self.weights[name] for name in names], [current[name].detach() for name in names]
            torch._foreach_lerp_(averages, values, 1 - keep)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Set the averages."""
        for name, value in self.weights.items():
            value.copy_(weights[name])

    @contextmanager
    def applied_to(self, model: Trainable) -> Iterator[None]:
        """Replace the model's weights by the averages within the block."""
        own = {name: p.detach().clone() for name, p in trainable(model).items() if name in self.weights}
        try:
            _put(model, self.weights)
            yield
        finally:
            _put(model, own)


@torch.no_grad()
def _put(model: Trainable, weights: dict[str, Tensor]) -> None:
    current = trainable(model)
    for name, value in weights.items():
        current[name].copy_(value)


def gamma_of(width: float) -> float:
    """The exponent gamma of the power function t^gamma whose relative standard deviation is `width`.

    width: in (0, 0.2886); ValueError otherwise.
    Source: EDM2, eq. 126.
    """
    if not 0 < width < 0.2886:
        raise ValueError(f"the width of the averaging window lies in (0, 0.28), got {width}")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        deviation = ((middle + 1) ** 0.5) / ((middle + 2) * (middle + 3) ** 0.5)
        low, high = (middle, high) if deviation > width else (low, middle)
    return low
