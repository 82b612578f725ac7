"""Probabilities of discrete pixel values, and bounds on the likelihood of models with latents."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def discretised_logistic(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int = 256) -> Tensor:
    """The log probability of values that lie on `levels` points in [-1, 1], in nats.

    Each value has the mass of a logistic distribution within half a step on either side; the lowest and the highest one
    take the tails. The probabilities of all levels sum to 1.
    x: on the grid, any shape.
    mean, log_scale: broadcastable to it.
    Returns as x.
    Source: Kingma et al. 2016, section 3.3 (IAF); Salimans et al. 2017 (PixelCNN++), eq. 2.
    """
    half = 1 / (levels - 1)
    inverse = (-log_scale).exp()
    upper, lower = (x - mean + half) * inverse, (x - mean - half) * inverse
    # log(sigmoid(upper) - sigmoid(lower)) without cancellation: differences of both tails, in logarithms.
    width = 2 * half * inverse
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width.clamp(min=1e-12)))
    inside = torch.where(width > 1e-12, inside, math.log(1e-12) + torch.zeros_like(inside))
    inside = torch.where(x <= -1 + half, F.logsigmoid(upper), inside)
    return torch.where(x >= 1 - half, F.logsigmoid(-lower), inside)


def discretised_logistic_mixture(
    x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, levels: int = 256
) -> Tensor:
    """The log probability of C values together under a mixture, in nats.

    The values of a component are independent, or their means have been moved by the values before them
    (`models.logistic_mixture`).
    x: (..., C) on the grid of `levels` points in [-1, 1].
    logits: (..., M) of the M components.
    means, log_scales: (..., C, M).
    Returns (...).
    """
    parts = discretised_logistic(x.unsqueeze(-1), means, log_scales, levels).sum(-2)
    return torch.logsumexp(parts + logits.log_softmax(-1), dim=-1)


def gaussian_log_density(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """The log density of a Gaussian of each value, in nats. Shapes are broadcastable."""
    return -0.5 * ((x - mean).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))


def importance_weighted(log_weights: Tensor) -> Tensor:
    """A bound on log p(x) from importance weights; it does not fall when samples are added, on average.

    log_weights: (K, ...), log p(x, z) - log q(z | x) of K samples of z.  K = 1 is the evidence lower bound.
    Returns (...), log of the mean weight.
    Source: Burda et al. 2016 (IWAE), eq. 8 and theorem 1.
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
