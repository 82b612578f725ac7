"""The noise level as a vector."""

import math

import torch
from torch import Tensor, nn


def sinusoids(x: Tensor, width: int, longest: float = 100.0, shortest: float = 0.5) -> Tensor:
    """Cosines and sines of x at wavelengths from `shortest` to `longest`.

    x: (B,).
    width: even.
    longest, shortest: the defaults suit a log signal-to-noise ratio in [-20, 20].
    Returns (B, width) float32.
    Source: Vaswani et al. 2017, section 3.5.
    """
    half = width // 2
    octave = torch.arange(half, device=x.device, dtype=torch.float32) / max(half - 1, 1)
    frequency = 2 * math.pi / longest * (longest / shortest) ** octave
    angle = x.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class LevelEmbedding(nn.Module):
    """Noise level -> vector, by a two-layer MLP on sinusoids. width: of the vector."""

    hidden_matrices = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(128, width)
        self.down = nn.Linear(width, width)

    def forward(self, level: Tensor) -> Tensor:
        """level: (B,), log signal-to-noise ratio in [-20, 20].  Returns (B, width)."""
        features = sinusoids(level, 128).to(self.up.weight.dtype)
        out: Tensor = self.down(nn.functional.silu(self.up(features)))
        return out
