"""Gradient guidance: every predicted picture is moved along the gradient of a similarity.

It wraps a denoiser and is one. With a similarity from CLIP it is CLIP guidance: the guided model need not read the
prompt, because another model compares the picture with it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.diffusion.denoiser import Denoiser, per_picture
from unstir.diffusion.guidance import check_interval
from unstir.diffusion.noise import GUIDANCE
from unstir.diffusion.philox import random_words
from unstir.diffusion.schedule import NoiseSchedule


class Similarity(Protocol):
    """How similar one picture is to a target: differentiable, higher is more similar.

    x0: (1, *) in [-1, 1].
    t: the sampler's time, in (0, 1]. What is random about a similarity is a function of t.
    Returns ().
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
    """Move each predicted picture along the gradient of its similarity, by scale·std at pure noise and 0 at the end.

        x0 + scale · v/std · d/rms(d),   d = Cov(x0 | xt) · g

    g is the gradient of the similarity with respect to x0; none goes through the denoiser. By Bayes' rule the
    prediction given a text is x0 + Cov·g, where g is the gradient of the text's log-likelihood. Cov is
    `posterior_variance`, what is still undecided at each spatial frequency: most of all coarse structure, and nothing
    once the noise is gone. v is its mean over all pixels. A cosine is no log-likelihood, and its gradient is larger for
    blurs than for pictures, so only the direction of d is used. Results are clipped to [-1, 1].

    towards: one similarity per picture. Each sees its picture alone, so no picture's bits depend on the others in the
        batch if `denoise` keeps them apart (`one_by_one`).
    scale: 0 = off; a negative scale moves away.
    schedule: of the denoiser.
    std: of the data.
    interval: guide only at times within it.
    Raises ValueError for an interval that is not within [0, 1], and when called with a batch of another size.
    Source: Dhariwal and Nichol 2021, algorithm 2; Nichol et al. 2021 (GLIDE), section 2.4; by x0 instead of xt as in
    Bansal et al. 2023 (universal guidance). The spectrum of Cov is ours.
    """
    check_interval(interval)
    if scale == 0:
        return denoise
    low, high = interval

    def guided(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        x0 = denoise(xt, t, cond)
        if len(x0) != len(towards):
            raise ValueError(f"{len(towards)} similarities for {len(x0)} pictures")
        height, width = x0.shape[-2:]
        variance = posterior_variance(schedule, t, std, height, width)
        length = per_picture(scale / std * variance.mean((1, 2)), x0)
        rows = []
        for i, similarity in enumerate(towards):
            row, time = x0[i : i + 1], float(t[i])
            if low <= time <= high:
                gradient = similarity_gradient(similarity, row, time)
                direction = torch.fft.ifft2(torch.fft.fft2(gradient) * variance[i]).real
                rms = direction.square().mean().sqrt()
                # Where the similarity is flat there is no direction.
                direction = torch.where(rms > 0, direction / rms, torch.zeros_like(direction))
                row = (row + length[i] * direction.to(row.dtype)).clamp(-1, 1)
            rows.append(row)
        return torch.cat(rows)

    return guided


def posterior_variance(schedule: NoiseSchedule, t: Tensor, std: float, height: int, width: int) -> Tensor:
    """Variance that each spatial frequency of Gaussian pictures still has once xt is known.

    S·sigma² / (alpha²·S + sigma²), where S = c / (1 + f²) is the spectrum of pictures, f in waves per picture, with
    mean std².

    t: (B,).
    std: of the data.
    Returns (B, height, width) float64, in the order of `torch.fft.fft2`.
    Source: Field 1987 (spectra of natural pictures fall as 1/f²); the variance is Bayes' rule for each frequency.
    """
    y, x = (torch.fft.fftfreq(side, 1 / side, dtype=torch.float64, device=t.device) for side in (height, width))
    spectrum = 1 / (1 + y[:, None].square() + x.square())
    spectrum = spectrum * (std**2 / spectrum.mean())
    alpha, sigma = (part(t.double())[:, None, None] for part in (schedule.alpha, schedule.sigma))
    variance: Tensor = spectrum * sigma.square() / (alpha.square() * spectrum + sigma.square())
    return variance


def similarity_gradient(similarity: Similarity, x0: Tensor, t: float) -> Tensor:
    """The gradient of the similarity with respect to x0, (1, *), in float32."""
    with torch.enable_grad():  # samplers run without
        x0 = x0.detach().float().requires_grad_()
        gradient: Tensor = torch.autograd.grad(similarity(x0, t), x0)[0]
    return gradient


def augmented_cosine(
    embed: Callable[[Tensor], Tensor],
    target: Tensor,
    seed: int,
    augment: Callable[[Tensor, Tensor], Tensor],
    parameters: int,
    views: int = 8,
) -> Similarity:
    """A similarity: the mean cosine of `target` with several augmented views of a picture, others at every time.

    With a single view the gradient finds noise that this one network takes for the target. What several views agree on
    contains less of that. Views are drawn from (seed, t) and nothing else.

    embed: (V, *) pictures -> (V, D).
    target: (D,), on the device where `embed` works.
    seed: of the picture.
    augment: (pictures, (parameters, V) numbers in [0, 1)) -> pictures, differentiable, as `models.augment.jitter`.
    parameters: how many numbers `augment` needs for a picture.
    views: V, 1 or more.
    Raises ValueError for fewer views.
    Source: Crowson et al. 2022 (VQGAN-CLIP), for the views.
    """
    if views < 1:
        raise ValueError(f"the similarity needs one view of a picture or more, got {views}")

    def similarity(x0: Tensor, t: float) -> Tensor:
        words = random_words(seed, round(t * 2**31), parameters * views, GUIDANCE) >> np.uint32(8)
        uniform = (words / 2**24).astype(np.float32).reshape(parameters, views)  # 24 bits: exact in float32
        pictures = x0.to(target.device).expand(views, *x0.shape[1:])
        embedded = embed(augment(pictures, torch.from_numpy(uniform).to(target.device)))
        return F.cosine_similarity(embedded, target[None]).mean()

    return similarity
