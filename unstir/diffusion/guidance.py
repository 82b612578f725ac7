"""Guidance wraps a denoiser and is one, so wrappers nest in any order."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser, per_picture


def check_interval(interval: tuple[float, float]) -> None:
    """Raise ValueError unless 0 <= low <= high <= 1. interval: (low, high), the times at which guidance is applied."""
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"a guidance interval needs 0 <= low <= high <= 1, got {low} and {high}")


def guide(
    denoise: Denoiser,
    null: Any,
    scale: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    join: Callable[[Any, Any], Any] | None = None,
) -> Denoiser:
    """Classifier-free guidance: extrapolate from the prediction for `null` through the one for the prompt.

    null: the empty conditioning, or that of a negative prompt.
    scale: 1 = off, 0 = the prediction for `null`, above 1 = extrapolate.
    interval: guide only at times within it; outside, the conditional prediction alone is used, at half the cost.
    join: (cond, null) -> one conditioning of twice the batch, so that both are predicted in one call.
    Raises ValueError for an interval that is not within [0, 1].
    Source: Ho and Salimans 2022, eq. 6; Kynkäänniemi et al. 2024 (interval).
    """
    if scale == 1:
        return denoise

    def pair(xt: Tensor, t: Tensor, cond: Any) -> tuple[Tensor, Tensor]:
        if join is None:
            return denoise(xt, t, cond), denoise(xt, t, null)
        both = denoise(torch.cat([xt, xt]), torch.cat([t, t]), join(cond, null))
        conditional, unconditional = both.chunk(2)
        return conditional, unconditional

    return _extrapolate(denoise, pair, scale, interval)


def autoguide(
    denoise: Denoiser, weak: Denoiser, scale: float, *, interval: tuple[float, float] = (0.0, 1.0)
) -> Denoiser:
    """Autoguidance: extrapolate from the prediction of a weaker model (smaller, or an earlier checkpoint).

    weak: the denoiser of the weaker model; it gets the same conditioning.
    scale: 1 = off, above 1 = extrapolate.
    interval: guide only at times within it.
    Raises ValueError for an interval that is not within [0, 1].
    Source: Karras et al. 2024 (autoguidance), eq. 3.
    """
    if scale == 1:
        return denoise
    return _extrapolate(denoise, lambda xt, t, cond: (denoise(xt, t, cond), weak(xt, t, cond)), scale, interval)


def _extrapolate(
    denoise: Denoiser,
    pair: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]],
    scale: float,
    interval: tuple[float, float],
) -> Denoiser:
    """good + (scale - 1)·(good - bad) at times within the interval. pair: (xt, t, cond) -> (good, bad)."""
    check_interval(interval)
    low, high = interval

    def guided(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        if (low, high) == (0, 1):
            good, bad = pair(xt, t, cond)
            return good + (good - bad) * (scale - 1)
        inside = (t >= low) & (t <= high)
        if not inside.any():
            return denoise(xt, t, cond)
        good, bad = pair(xt, t, cond)
        difference = (good - bad) * (scale - 1)
        if not inside.all():
            difference = difference * per_picture(inside, xt)
        return good + difference

    return guided


def clip_range(denoise: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Clip every predicted picture to the range that pictures have."""
    return lambda xt, t, cond: denoise(xt, t, cond).clamp(low, high)


def dynamic_threshold(denoise: Denoiser, percentile: float = 0.995) -> Denoiser:
    """Dynamic thresholding: a predicted picture beyond [-1, 1] is clipped at a percentile of itself, then rescaled.

    It keeps colours from saturating under strong guidance.

    percentile: of |x0| within each picture, in (0, 1].
    Raises ValueError for another percentile.
    Source: Saharia et al. 2022 (Imagen), section 2.3.
    """
    if not 0 < percentile <= 1:
        raise ValueError(f"a percentile lies in (0, 1], got {percentile}")

    def thresholded(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        x0 = denoise(xt, t, cond)
        top = per_picture(x0.flatten(1).abs().quantile(percentile, dim=1).clamp(min=1), x0)
        return x0.clamp(-top, top) / top

    return thresholded


def inpaint(denoise: Denoiser, known: Tensor, mask: Tensor) -> Denoiser:
    """Keep the known part of a picture: wherever mask is 1 the prediction is replaced by `known`.

    known: (B, C, H, W), a clean picture.
    mask: broadcastable to `known`; 1 where it is kept, 0 where the model paints.
    """
    return lambda xt, t, cond: known * mask + denoise(xt, t, cond) * (1 - mask)


def one_by_one(denoise: Denoiser, split: Callable[[Any, int], Any]) -> Denoiser:
    """Evaluate a batch picture by picture, so that no picture's bits depend on the others in the batch.

    Matrix products choose their blocking by the batch size, and rounding follows the blocking: the same row comes out
    with other bits in another batch.

    split: (cond, i) -> the conditioning of picture i alone, as a batch of one.
    """

    def each(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        if len(xt) == 1:
            return denoise(xt, t, cond)
        return torch.cat([denoise(xt[i : i + 1], t[i : i + 1], split(cond, i)) for i in range(len(xt))])

    return each
