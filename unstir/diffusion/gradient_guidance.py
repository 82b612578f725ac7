"""Steering wraps a denoiser and is one: every predicted picture is moved to where a function of pictures rises.

CLIP guidance is steering by the similarity of picture and words. The model that draws need not know these words, or
any: another model judges.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.diffusion.denoiser import Denoiser, per_picture
from unstir.diffusion.noise import random_words
from unstir.diffusion.schedule import NoiseSchedule

VIEWS = 2
"""The stream of `noise.bits` that views are drawn from, beside SAMPLING and TRAINING."""


class Similarity(Protocol):
    """How near one picture is to what is wanted: x0 (1, *) in [-1, 1] -> (), differentiable, more is nearer.

    t: where the sampler is, in (0, 1]. What is random about a similarity is a function of t.
    """

    def __call__(self, x0: Tensor, t: float) -> Tensor: ...


def guide_by_gradient(
    denoise: Denoiser,
    towards: Sequence[Similarity],
    scale: float,
    schedule: NoiseSchedule,
    std: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Denoiser:
    """Move each predicted picture up its similarity, by scale·std at pure noise and by nothing at the picture. 0 = off.

        x0 + scale · v/std · d/rms(d),   d = Cov(x0 | xt) · g

    with g the gradient of the similarity by x0; none goes through the denoiser. By Bayes' rule the prediction given
    the words is x0 + Cov·g for g the gradient of their log-likelihood. Cov is `posterior_variance`: coarse traits of
    the picture are open before fine ones, and nothing is where the noise has gone; v is its mean over all pixels. A
    cosine is no log-likelihood and the size of its gradient says nothing, being larger for blurs than for pictures, so
    d counts as a direction only. Results are clipped to [-1, 1].

    towards: one function a picture, which sees that picture alone, so that no picture's bits depend on its neighbours
    if `denoise` keeps them apart (`one_by_one`).  std: of the data.  interval: steer only at times within.
    Source: Dhariwal and Nichol 2021, algorithm 2; Nichol et al. 2021 (GLIDE), section 2.4; by x0 instead of xt as in
    Bansal et al. 2023 (universal guidance). The spectrum of Cov is ours.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"an interval of steering lies within 0 … 1, low end first, got {low} … {high}")
    if scale == 0:
        return denoise

    def steered(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        x0 = denoise(xt, t, cond)
        if len(x0) != len(towards):
            raise ValueError(f"{len(towards)} similarities for {len(x0)} pictures")
        height, width = x0.shape[-2:]
        variance = posterior_variance(schedule, t, std, height, width)
        reach = per_picture(scale / std * variance.mean((1, 2)), x0)
        rows = []
        for i, similarity in enumerate(towards):
            row, time = x0[i : i + 1], float(t[i])
            if low <= time <= high:
                way = torch.fft.ifft2(torch.fft.fft2(similarity_gradient(similarity, row, time)) * variance[i]).real
                size = way.square().mean().sqrt()
                # Where the similarity is flat there is no way to go.
                way = torch.where(size > 0, way / size, torch.zeros_like(way))
                row = (row + reach[i] * way.to(row.dtype)).clamp(-1, 1)
            rows.append(row)
        return torch.cat(rows)

    return steered


def posterior_variance(schedule: NoiseSchedule, t: Tensor, std: float, height: int, width: int) -> Tensor:
    """Variance that each spatial frequency of Gaussian pictures still has once xt is known.

    S·sigma² / (alpha²·S + sigma²), S = c / (1 + f²) the spectrum of pictures, f in waves a picture, of mean std².
    t: (B,). Returns (B, height, width) float64 in the order of `torch.fft.fft2`.
    Source: Field 1987 (pictures' spectra fall as 1/f²); the variance is Bayes' rule for each frequency.
    """
    along = (torch.fft.fftfreq(side, 1 / side, dtype=torch.float64, device=t.device) for side in (height, width))
    y, x = along
    spectrum = 1 / (1 + y[:, None].square() + x.square())
    spectrum = spectrum * (std**2 / spectrum.mean())
    alpha, sigma = (part(t.double())[:, None, None] for part in (schedule.alpha, schedule.sigma))
    variance: Tensor = spectrum * sigma.square() / (alpha.square() * spectrum + sigma.square())
    return variance


def similarity_gradient(similarity: Similarity, x0: Tensor, t: float) -> Tensor:
    """The gradient of the similarity at x0 (1, *), float32."""
    with torch.enable_grad():  # samplers run without
        place = x0.detach().float().requires_grad_()
        gradient: Tensor = torch.autograd.grad(similarity(place, t), place)[0]
    return gradient


def augmented_cosine(
    embed: Callable[[Tensor], Tensor],
    target: Tensor,
    seed: int,
    change: Callable[[Tensor, Tensor], Tensor],
    dials: int,
    views: int = 8,
) -> Similarity:
    """The mean cosine of `target` with several views of a picture, each changed a little, at every time others.

    By a single view the gradient finds noise that this one network takes for the thing; what several views
    agree on is less of that. Views are drawn from (seed, t) and nothing else.

    embed: (V, *) pictures -> (V, D).  target: (D,), on the device where `embed` works.
    change: (pictures, (dials, V) numbers in [0, 1)) -> pictures, differentiable, as `models.augment.jitter`.
    Source: Crowson et al. 2022 (VQGAN-CLIP), for the views.
    """
    if views < 1:
        raise ValueError(f"a picture is looked at in one view at least, not {views}")

    def similarity(x0: Tensor, t: float) -> Tensor:
        drawn = random_words(seed, round(t * 2**31), dials * views, VIEWS) >> np.uint32(8)  # 24 bits: exact in float32
        uniform = torch.from_numpy((drawn / 2**24).astype(np.float32).reshape(dials, views)).to(target.device)
        pictures = x0.to(target.device).expand(views, *x0.shape[1:])
        return F.cosine_similarity(embed(change(pictures, uniform)), target[None]).mean()

    return similarity
