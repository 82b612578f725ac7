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
from unstir.diffusion.noise import bits
from unstir.diffusion.schedule import NoiseSchedule

VIEWS = 2
"""The stream of `noise.bits` that views are drawn from, beside SAMPLING and TRAINING."""


class Similarity(Protocol):
    """How near one picture is to what is wanted: x0 (1, *) in [-1, 1] -> (), differentiable, more is nearer.

    t: where the sampler is, in (0, 1]. What is random about a similarity is a function of t.
    """

    def __call__(self, x0: Tensor, t: float) -> Tensor: ...


def steer(
    denoise: Denoiser,
    towards: Sequence[Similarity],
    scale: float,
    schedule: NoiseSchedule,
    std: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Denoiser:
    """Move each predicted picture up its similarity: x0 + scale·s(t)·g/rms(g), clipped to [-1, 1]. 0 = off.

    g is the gradient of the similarity by x0; none goes through the denoiser. s(t) is `undecided`: pixels move by
    `scale` times what this noise leaves open about them, from the whole picture at t = 1 to nothing at t = 0.
    By Bayes' rule the prediction given the words is x0 + Cov(x0 | xt)·g for g the gradient of their log-likelihood.
    A cosine is none, and its gradient's size says nothing: it is larger for blurs than for pictures. So its
    direction alone is taken.

    towards: one function a picture, which sees that picture alone, so that no picture's bits depend on its neighbours
    if `denoise` keeps them apart (`one_by_one`).  std: of the data.  interval: steer only at times within.
    Source: Dhariwal and Nichol 2021, algorithm 2; Nichol et al. 2021 (GLIDE), section 2.4; by x0 instead of xt as in
    Bansal et al. 2023 (universal guidance), section 3.2.
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
        reach = per_picture(scale * undecided(schedule, t, std), x0)
        rows = []
        for i, similarity in enumerate(towards):
            row, time = x0[i : i + 1], float(t[i])
            rows.append((row + reach[i] * uphill(similarity, row, time)).clamp(-1, 1) if low <= time <= high else row)
        return torch.cat(rows)

    return steered


def undecided(schedule: NoiseSchedule, t: Tensor, std: float) -> Tensor:
    """Standard deviation of Gaussian pictures, of deviation `std`, once xt is known: from std at pure noise to 0.

    s² = std²·sigma² / (alpha²·std² + sigma²).  t: (B,). Returns (B,) float64.
    """
    alpha, sigma = schedule.alpha(t.double()), schedule.sigma(t.double())
    return std * sigma * (alpha.square() * std**2 + sigma.square()).rsqrt()


def uphill(similarity: Similarity, x0: Tensor, t: float) -> Tensor:
    """The direction in which the similarity of x0 (1, *) rises fastest, of root mean square 1; 0 where it is flat."""
    with torch.enable_grad():  # samplers run without
        place = x0.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(similarity(place, t), place)
    size = gradient.square().mean().sqrt()
    return torch.where(size > 0, gradient / size, torch.zeros_like(gradient)).to(x0.dtype)


def likeness(
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
        drawn = bits(seed, round(t * 2**31), dials * views, VIEWS) >> np.uint32(8)  # 24 bits: exact in float32
        uniform = torch.from_numpy((drawn / 2**24).astype(np.float32).reshape(dials, views)).to(target.device)
        pictures = x0.to(target.device).expand(views, *x0.shape[1:])
        return F.cosine_similarity(embed(change(pictures, uniform)), target[None]).mean()

    return similarity
