"""The distribution of one pixel: a mixture of logistics on a grid of levels, channel after channel.

Every component has a weight, and for each channel a mean and a scale; the mean of a later channel moves linearly with
the values of the earlier ones. Source: Salimans et al. 2017 (PixelCNN++), sections 2.1 and 2.2, for any number of
levels and channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.models.likelihood import discretised_logistic, discretised_logistic_mixture

SHARPEST = 2.5
"""The smallest scale of a component is half a step between levels, divided by exp(SHARPEST): a certain value then costs
2e-5 bits. (PixelCNN++ stops at exp(-7) with 256 levels, where it costs 0.04.)"""

START_LOG_SCALE = -1.5
"""Where the logarithms of the scales begin."""


class PixelMixture(NamedTuple):
    """The distributions of pixels with C values, each of M components.

    logits: (..., M), unnormalised log weights.
    means: (..., C, M), for values in [-1, 1]; of channel c where all earlier values are 0.
    log_scales: (..., C, M).
    slopes: (..., C(C-1)/2, M), how the mean of channel c moves with value d < c; at the index c(c-1)/2 + d.
    levels: of the grid.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    slopes: Tensor
    levels: int

    @property
    def grid(self) -> Tensor:
        """The values of the levels, (levels,) in [-1, 1]."""
        like = self.means
        return torch.arange(self.levels, device=like.device, dtype=like.dtype) * (2 / (self.levels - 1)) - 1

    def mean(self, channel: int, earlier: Tensor) -> Tensor:
        """The means of one channel given the values before it. earlier: (..., channel).  Returns (..., M)."""
        first = channel * (channel - 1) // 2
        slopes = self.slopes[..., first : first + channel, :]
        return self.means[..., channel, :] + (slopes * earlier.unsqueeze(-1)).sum(-2)

    def log_probability(self, x: Tensor) -> Tensor:
        """The log probability of pixels in nats. x: (..., C) on the grid.  Returns (...)."""
        moved = [self.mean(channel, x[..., :channel]) for channel in range(x.shape[-1])]
        means = torch.stack(moved, dim=-2) if len(moved) > 1 else self.means
        return discretised_logistic_mixture(x, self.logits, means, self.log_scales, self.levels)

    def channel_log_probabilities(self, earlier: Tensor) -> Tensor:
        """The log probability of every level of the next channel.

        earlier: (..., c), the values of the first c channels, c < C; they say which components are likely.
        Returns (..., levels), nats.
        """
        channel = earlier.shape[-1]
        weights = self.logits.log_softmax(-1)
        for before in range(channel):
            mean, log_scale = self.mean(before, earlier[..., :before]), self.log_scales[..., before, :]
            weights = weights + discretised_logistic(earlier[..., before, None], mean, log_scale, self.levels)
        mean, log_scale = self.mean(channel, earlier), self.log_scales[..., channel, :]
        each = discretised_logistic(self.grid[:, None], mean.unsqueeze(-2), log_scale.unsqueeze(-2), self.levels)
        return torch.logsumexp(each + weights.log_softmax(-1).unsqueeze(-2), dim=-1)


def mixture_numbers(channels: int, components: int) -> int:
    """How many numbers a network gives for a pixel: 1 + 2C + C(C-1)/2 for each component."""
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


def pixel_mixture(numbers: Tensor, channels: int, components: int, levels: int) -> PixelMixture:
    """The distributions that the numbers of a network stand for.

    The components begin spread over the range of values, each as wide as START_LOG_SCALE says.
    numbers: (..., mixture_numbers), any floats.
    """
    pairs = channels * (channels - 1) // 2
    sizes = [components, channels * components, channels * components, pairs * components]
    logits, means, log_scales, slopes = numbers.split(sizes, dim=-1)  # type: ignore[no-untyped-call]
    least = -math.log(levels - 1) - SHARPEST
    spread = torch.arange(components, device=numbers.device, dtype=numbers.dtype) * 2 + (1 - components)
    return PixelMixture(
        logits,
        means.unflatten(-1, (channels, components)) + spread / components,
        least + F.softplus(log_scales.unflatten(-1, (channels, components)) + (START_LOG_SCALE - least)),
        torch.tanh(slopes.unflatten(-1, (pairs, components))),
        levels,
    )


def drawn_levels(log_probabilities: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Draw levels by the inverse of their distribution function.

    log_probabilities: (B, levels), may be unnormalised.
    uniform: (B,), float64 in (0, 1).
    temperature: probabilities are taken to the power 1/temperature; 0 takes the likeliest level.
    Returns (B,) int64.
    """
    if temperature == 0:
        return log_probabilities.argmax(-1)
    below = (log_probabilities.double() / temperature).softmax(-1).cumsum(-1)
    below = below / below[:, -1:]  # exactly 1 at the end
    return (uniform.to(below.device)[:, None] > below[:, :-1]).sum(-1)
