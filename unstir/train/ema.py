"""The average of the weights over the recent past, which samples better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unstir.models.generative import Trainable
from unstir.train.config import TrainConfig


def trainable(model: Trainable) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name: all that are not frozen."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def buffers(model: Trainable) -> dict[str, Tensor]:
    """The persistent buffers, by name: what is kept with the weights and is none, such as an EMA codebook."""
    parameters = {name for name, _ in model.named_parameters()}
    return {name: value for name, value in model.state_dict().items() if name not in parameters}


class Average:
    """An exponential average whose window grows with the run: at any time it spans the same share of the past.

    The width of the window is the part's (`TrainConfig.part`): its standard deviation relative to the pictures seen,
    about 0.05 to 0.1; parts whose width is 0 have no average.
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
        """Take in the weights reached after `images_seen` pictures, the last `batch_size` of them new."""
        current = trainable(model)
        for gamma, names in self._groups:
            keep = (1 - batch_size / images_seen) ** (gamma + 1)
            averages, values = [self.weights[name] for name in names], [current[name].detach() for name in names]
            torch._foreach_lerp_(averages, values, 1 - keep)

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(weights[name])

    @contextmanager
    def applied_to(self, model: Trainable) -> Iterator[None]:
        """The model has these weights in place of its own, for the length of the block."""
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
    """The power of t^gamma whose relative standard deviation is `width`, in (0, 0.29). Source: EDM2, eq. 126."""
    if not 0 < width < 0.2886:
        raise ValueError(f"the width of the averaging window lies in (0, 0.28), got {width}")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        spread = ((middle + 1) ** 0.5) / ((middle + 2) * (middle + 3) ** 0.5)
        low, high = (middle, high) if spread > width else (low, middle)
    return low
