"""The forward process as what it is, a Markov chain, and the likelihood bound that follows from it.

For s < t: q(x_t | x_s) is Gaussian, so is the way back q(x_s | x_t, x0), and the negative log-likelihood of a picture
is at most L_T + sum of L_t + L_0 (Sohl-Dickstein et al. 2015; Ho et al. 2020, eq. 5; Kingma et al. 2021).
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
    """q(x_t | x_s) = N(a·x_s, std²): a and std of one step from s up to t. Source: Kingma et al. 2021, eq. 21."""
    a = t.alpha / s.alpha
    return a, math.sqrt(max(t.sigma**2 - (a * s.sigma) ** 2, 0.0))


def posterior(x0: Tensor, xt: Tensor, t: Level, s: Level) -> tuple[Tensor, float]:
    """q(x_s | x_t, x0): mean (B, *) and standard deviation. Source: Ho et al. 2020, eq. 6 and 7."""
    std = chain_noise(t, s)
    return step_to(x0, xt, t, s, std), std


def gaussian_kl(mean: Tensor, std: float, other_mean: Tensor | float, other_std: float) -> Tensor:
    """KL(N(mean, std²) || N(other_mean, other_std²)) per element, in nats."""
    ratio = (std / other_std) ** 2
    return 0.5 * (ratio - 1 - math.log(ratio) + ((mean - other_mean) / other_std) ** 2)


def prior_term(x0: Tensor, t: Level) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, sigma_T²)), nats per picture, (B,): zero where the path ends in pure noise."""
    return gaussian_kl(t.alpha * x0, t.sigma, 0.0, t.sigma).flatten(1).sum(1)


def step_term(x0: Tensor, x0_hat: Tensor, t: Level, s: Level) -> Tensor:
    """L_t = KL(q(x_s | x_t, x0) || q(x_s | x_t, x0_hat)), nats per picture, (B,).

    Both Gaussians have the same variance, and what is left of their means is the difference of the signal-to-noise
    ratios times the error of the picture. Source: Kingma et al. 2021, eq. 13.
    """
    gain = (s.alpha / s.sigma) ** 2 - (t.alpha / t.sigma) ** 2
    return 0.5 * gain * (x0 - x0_hat).square().flatten(1).sum(1)


def data_term(x0: Tensor, x0_hat: Tensor, t: Level, bins: int | None) -> Tensor:
    """L_0 = -log p(x0 | x_t) with p = N(x0_hat, (sigma/alpha)²), nats per picture, (B,).

    bins: x0 takes this many values evenly spaced over [-1, 1], and the Gaussian is integrated over each one's bin, the
    outermost reaching to infinity (Ho et al. 2020, eq. 13). None: x0 is continuous, the density is taken.
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
    """The variational bound of a batch, in bits per dimension: a mean over pictures, and its standard error."""

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
    """An upper bound on the bits that the model needs for each number of a picture.

    x0: (B, *) in [-1, 1].  levels: from `levels_of`, many steps (the bound tightens with them); the last one before
    the picture should leave noise of about half a bin.  noise(i): fresh unit noise for the term of level i.
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
