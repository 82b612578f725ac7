"""The parts of a hierarchical VAE: its configuration, and one group of latents of its ladder."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.chain import gaussian_kl
from unstir.models.likelihood import gaussian_log_density
from unstir.nn.conv import Conv
from unstir.nn.init import init_zero
from unstir.nn.text import TextConfig

LARGEST_LOGVAR = 10.0
"""Of posterior and prior, either way: an exponential beyond it overflows in low precision."""


@dataclass(frozen=True)
class VaeConfig:
    """The architecture.

    size: side of the pictures, a multiple of the coarsest scale.
    channels: of a picture.
    text: the text encoder.
    scales: sides of the feature maps, fine to coarse; each is a divisor of the one before, and the last may be 1.
    blocks: groups of latents at each of these scales.
    width: channels of the feature maps.
    latent: channels of a group of latents.
    ValueError for sides that do not divide each other.
    """

    size: int
    channels: int
    text: TextConfig
    scales: tuple[int, ...] = (16, 8, 4, 1)
    blocks: tuple[int, ...] = (3, 3, 2, 1)
    width: int = 96
    latent: int = 8

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.blocks) or not self.scales:
            raise ValueError("scales and blocks need one entry per scale each")
        for larger, smaller in zip((self.size, *self.scales), self.scales, strict=False):
            if larger % smaller or smaller < 1:
                raise ValueError(
                    f"the scales {self.scales} of a picture of {self.size} pixels do not divide each other"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.channels, self.size, self.size


class ConvBlock(nn.Module):
    """gelu, 1×1, gelu, 3×3, gelu, 3×3, gelu, 1×1 convolutions; 1×1 throughout where the side is 1.

    inside, outside: channels.  hidden: channels between.  side: of the feature map.
    zero: whether the last convolution starts at zero.
    Source: Child 2021 (VDVAE), figure 3.
    """

    hidden_matrices = True

    def __init__(self, inside: int, hidden: int, outside: int, side: int, zero: bool = False) -> None:
        super().__init__()
        kernel = 3 if side > 2 else 1
        self.layers = nn.ModuleList(
            [Conv(inside, hidden, 1), Conv(hidden, hidden, kernel), Conv(hidden, hidden, kernel)]
        )
        self.out = Conv(hidden, outside, 1)
        if zero:
            init_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inside, h, w).  Returns (B, outside, h, w)."""
        for layer in self.layers:
            x = layer(F.gelu(x))
        out: Tensor = self.out(F.gelu(x))
        return out


class Group(NamedTuple):
    """One group of latents.

    z: (B, latent, h, w).
    kl: (B,), the divergence of its posterior from its prior in nats; 0 where there is no posterior.
    log_ratio: (B,), log p(z) - log q(z) in nats; 0 where there is no posterior.
    """

    z: Tensor
    kl: Tensor
    log_ratio: Tensor


class LatentBlock(nn.Module):
    """One group of latents of the ladder: its prior, its posterior, and what it adds to the feature map.

    side: of the feature map.  depth: number of groups of the whole ladder.
    Source: Child 2021 (VDVAE), section 3 and figure 3; without its prior's zero start the first steps diverge.
    """

    hidden_matrices = True

    def __init__(self, config: VaeConfig, side: int, depth: int) -> None:
        super().__init__()
        width, hidden = config.width, max(16, config.width // 2)
        self.latent = config.latent
        self.words = nn.Linear(config.text.width, width)
        init_zero(self.words)
        self.prior = ConvBlock(width, hidden, 2 * config.latent + width, side, zero=True)
        self.posterior = ConvBlock(2 * width, hidden, 2 * config.latent, side)
        self.project = Conv(config.latent, width, 1)
        self.residual = ConvBlock(width, hidden, width, side)
        self.scale = 1 / math.sqrt(depth)

    def forward(
        self,
        x: Tensor,
        words: Tensor,
        eps: Tensor,
        seen: Tensor | None,
        temperature: float = 1.0,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Group]:
        """Add a group of latents to the feature map.

        x: (B, width, h, w).
        words: (B, text width), the pooled text.
        eps: (B, latent, h, w), standard normal noise.
        seen: (B, width, h, w), features of the picture for the posterior, or None to draw from the prior.
        temperature: factor of the prior's deviation.
        known: (B, latent, h, w), latents to take instead of drawing them, or None.
        """
        x = x + self.words(words)[:, :, None, None]
        given = self.prior(x)
        mean, logvar, features = given.float().split([self.latent, self.latent, x.shape[1]], dim=1)
        logvar = _limited(logvar)
        x = x + features.to(x.dtype)
        zero = torch.zeros(len(x), device=x.device)
        if known is not None:
            group = Group(known, zero, zero)
        elif seen is None:
            group = Group(mean + temperature * (0.5 * logvar).exp() * eps, zero, zero)
        else:
            own_mean, own_logvar = self.posterior(torch.cat([x, seen], 1)).float().chunk(2, dim=1)
            own_logvar = _limited(own_logvar)
            z = own_mean + (0.5 * own_logvar).exp() * eps
            own_std, std = (0.5 * own_logvar).exp(), (0.5 * logvar).exp()
            kl = gaussian_kl(own_mean, own_std, mean, std).flatten(1).sum(1)
            ratio = gaussian_log_density(z, mean, logvar) - gaussian_log_density(z, own_mean, own_logvar)
            group = Group(z, kl, ratio.flatten(1).sum(1))
        x = x + self.scale * self.project(group.z.to(x.dtype))
        return x + self.scale * self.residual(x), group


def _limited(logvar: Tensor) -> Tensor:
    return LARGEST_LOGVAR * torch.tanh(logvar / LARGEST_LOGVAR)
