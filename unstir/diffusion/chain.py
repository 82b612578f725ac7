"""The forward process as a Markov chain, and the likelihood bound that follows from it.

For s < t: q(x_t | x_s) is Gaussian, so is its reverse q(x_s | x_t, x0), and the negative log-likelihood of a picture
is at most L_T + sum of L_t + L_0.
Source: Sohl-Dickstein et al. 2015; Ho et al. 2020, eq. 5; Kingma et al. 2021.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, full_time
from unstir.diffusion.sampler import Level, Noise, chain_noise, step_to


def transition(t: Level, s: Level) -> tuple[float, float]:
    """One step of the chain, from s up to t: q(x_t | x_s) = N(a·x_s, std²).

    Returns a and std.
    Source: Kingma et al. 2021, eq. 21.
    """
    a = t.alpha / s.alpha
    return a, math.sqrt(max(t.sigma**2 - (a * s.sigma) ** 2, 0.0))


def posterior(x0: Tensor, xt: Tensor, t: Level, s: Level) -> tuple[Tensor, float]:
    """One step back, from t to s, when the picture is known: q(x_s | x_t, x0).

    x0, xt: (B, *).
    Returns its mean (B, *) and its standard deviation.
    Source: Ho et al. 2020, eq. 6 and 7.
    """
    std = chain_noise(t, s)
    return step_to(x0, xt, t, s, std), std


def gaussian_kl(mean: Tensor, std: Tensor | float, other_mean: Tensor | float, other_std: Tensor | float) -> Tensor:
    """KL(N(mean, std²) || N(other_mean, other_std²)) per element, in nats. Both deviations above 0."""
    ratio = (std / other_std) ** 2
    log_ratio = ratio.log() if isinstance(ratio, Tensor) else math.log(ratio)
    return 0.5 * (ratio - 1 - log_ratio + ((mean - other_mean) / other_std) ** 2)


def prior_term(x0: Tensor, t: Level) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, sigma_T²)), zero where the path ends in pure noise.

    x0: (B, *).
    Returns nats per picture, (B,).
    """
    return gaussian_kl(t.alpha * x0, t.sigma, 0.0, t.sigma).flatten(1).sum(1)


def step_term(x0: Tensor, x0_hat: Tensor, t: Level, s: Level) -> Tensor:
    """L_t = KL(q(x_s | x_t, x0) || q(x_s | x_t, x0_hat)).

    Both Gaussians have the same variance, and the difference of their means is the difference of the signal-to-noise
    ratios times the error of the picture.

    x0, x0_hat: (B, *), the picture and its prediction from x_t.
    Returns nats per picture, (B,).
    Source: Kingma et al. 2021, eq. 13.
    """
    gain = (s.alpha / s.sigma) ** 2 - (t.alpha / t.sigma) ** 2
    return 0.5 * gain * (x0 - x0_hat).square().flatten(1).sum(1)


def data_term(x0: Tensor, x0_hat: Tensor, t: Level, bins: int | None) -> Tensor:
    """L_0 = -log p(x0 | x_t) with p = N(x0_hat, (sigma/alpha)²).

    x0, x0_hat: (B, *), the picture and its prediction from x_t.
    bins: x0 takes this many values evenly spaced over [-1, 1], and the Gaussian is integrated over the bin of each; the
        outermost bins reach to infinity. None: x0 is continuous, the density is taken.
    Returns nats per picture, (B,).
    Source: Ho et al. 2020, eq. 13.
    """
    std = t.sigma / t.alpha
    if bins is None:
        nll = 0.5 * ((x0 - x0_hat) / std) ** 2 + math.log(std) + 0.5 * math.log(2 * math.pi)
        return nll.flatten(1).sum(1)
    half = 1 / (bins - 1)
    z = ((x0 - x0_hat) / std).double()
    upper = torch.where(x0 > 1 - half, math.inf, z + half / std)
    lower = torch.where(x0 < -1 + half, -math.inf, z - half / std)
    # The smaller tail keeps precision: P(a < Z < b) = P(-b < Z < -a).
    flip = z > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    log_upper = torch.special.log_ndtr(upper)
    nll = -(log_upper + torch.log1p(-torch.exp(torch.special.log_ndtr(lower) - log_upper)))
    total: Tensor = nll.flatten(1).sum(1)
    return total


@dataclass(frozen=True)
class Bound:
    """The variational bound of a batch, in bits per dimension.

    prior, steps, data: the terms L_T, L_t and L_0, each a mean over pictures.
    standard_error: of the total; nan for a single picture.
    """

    prior: float
    steps: list[float]
    data: float
    standard_error: float

    @property
    def total(self) -> float:
        return self.prior + sum(self.steps) + self.data


@torch.no_grad()
def bits_per_dim(
    denoise: Denoiser, x0: Tensor, cond: Any, levels: Sequence[Level], noise: Noise, bins: int | None = 256
) -> Bound:
    """An upper bound on the negative log-likelihood of the pictures under the model, in bits per dimension.

    x0: (B, *) in [-1, 1].
    cond: the conditioning, as the denoiser takes it.
    levels: from `levels_of`; the bound is tighter with more. The last one before the picture should leave noise of
        about half a bin.
    noise: noise(i) is fresh unit noise for the term of level i, (B, *).
    bins: how many values a number of a picture takes, see `data_term`.
    Raises ValueError for fewer than two steps.
    """
    if len(levels) < 3:
        raise ValueError("the bound needs two steps or more")
    terms = [prior_term(x0, levels[0])]
    for i, (t, s) in enumerate(pairwise(levels)):
        xt = t.alpha * x0 + t.sigma * noise(i)
        x0_hat = denoise(xt, full_time(t.t, xt), cond)
        terms.append(step_term(x0, x0_hat, t, s) if s.sigma else data_term(x0, x0_hat, t, bins))
    table = torch.stack([term.double() for term in terms]) / (x0[0].numel() * math.log(2))
    spread = table.sum(0).std(correction=1).item() / math.sqrt(len(x0)) if len(x0) > 1 else math.nan
    means: list[float] = table.mean(1).tolist()
    return Bound(means[0], means[1:-1], means[-1], spread)
