"""The average of the weights over the recent past, which samples better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unstir.models.generative import Trainable


def trainable(model: Trainable) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name: all that are not frozen."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Average:
    """An exponential average whose window grows with the run: at any time it spans the same share of the past.

    width: standard deviation of the window, relative to the pictures seen; about 0.05 to 0.1.
    Source: Karras et al. 2024 (EDM2), eq. 2 and 3, algorithm 2.
    """

    def __init__(self, model: Trainable, width: float) -> None:
        self.gamma = gamma_of(width)
        self.weights = {name: p.detach().clone() for name, p in trainable(model).items()}

    @torch.no_grad()
    def update(self, model: Trainable, images_seen: int, batch_size: int) -> None:
        """Take in the weights reached after `images_seen` pictures, the last `batch_size` of them new."""
        keep = (1 - batch_size / images_seen) ** (self.gamma + 1)
        current = [p.detach() for p in trainable(model).values()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - keep)

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(weights[name])

    @contextmanager
    def lent(self, model: Trainable) -> Iterator[None]:
        """The model has these weights in place of its own, for the length of the block."""
        own = {name: p.detach().clone() for name, p in trainable(model).items()}
        try:
            _put(model, self.weights)
            yield
        finally:
            _put(model, own)


@torch.no_grad()
def _put(model: Trainable, weights: dict[str, Tensor]) -> None:
    for name, parameter in trainable(model).items():
        parameter.copy_(weights[name])


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
