"""At which times a network is trained: a distribution over t in (0, 1), separate from schedule and time grid."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitNormal:
    """t = sigmoid(z) with z from N(mean, std²): most training happens at middle noise levels.

    mean: a higher mean trains more on noise.
    std: the smaller, the more training concentrates at sigmoid(mean), the median.
    Raises ValueError when built with a negative std.
    Source: Esser et al. 2024 (Stable Diffusion 3), section 3.1; Karras et al. 2022, section 5, for log sigma.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise ValueError(f"the standard deviation of training times must not be negative, got {self.std}")

    def at(self, z: Tensor) -> Tensor:
        """The time z standard deviations from the median, in logits. z: any shape; same shape and dtype back."""
        return torch.sigmoid(self.mean + self.std * z)

    def sample(self, count: int, generator: torch.Generator, rows: slice | None = None) -> Tensor:
        """Independent times, float32 on the device of the generator.

        rows: return only these of the `count` times; all of them are drawn nevertheless, so that processes that share
            a batch and a seed get the parts of one sample.
        Returns (count,), or (len(rows),).
        """
        z = torch.randn(count, generator=generator, device=generator.device)
        return self.at(z if rows is None else z[rows])

    def quantile(self, u: Tensor) -> Tensor:
        """The time below which a share u of all times lies.

        u: any shape, in [0, 1], float64 for accurate tails.
        Returns the shape and dtype of u.
        """
        return self.at(torch.special.ndtri(u))
