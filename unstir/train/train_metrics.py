"""Train metrics: what the log holds besides the loss, for `diagnose`."""

import torch
from torch import Tensor

from unstir.models.clip import Clip, ClipBatch
from unstir.models.diffusion import SMALLEST_SIGMA, Batch, Diffusion
from unstir.models.process_group import process_group


@torch.no_grad()
def of_diffusion(model: Diffusion, batch: Batch) -> dict[str, float]:
    """Train metrics of a diffusion model, from this process's rows of a batch; {} for fewer than two.

    Returns `chance`: the loss of a model that always predicts the mean picture.
    """
    return {} if len(batch.x0) < 2 else {"chance": mean_picture_loss(model, batch.x0)}


@torch.no_grad()
def of_clip(model: Clip, batch: ClipBatch) -> dict[str, float]:
    """Train metrics of a CLIP, from this process's rows of a batch; {} for fewer than two.

    Returns:
    chance: the loss if all cosines were equal.
    scale: the factor of the cosines.
    cosine of pictures, cosine of captions: the mean cosine of different rows.
    """
    if len(batch.x0) < 2:
        return {}
    return {
        "chance": chance_loss(batch, model.config.loss),
        "scale": model.scale.item(),
        "cosine of pictures": mean_cosine(model.embed_pictures(batch.x0)),
        "cosine of captions": mean_cosine(model.embed_ids(batch.ids)),
    }


def mean_cosine(vectors: Tensor) -> float:
    """The mean cosine of all pairs of different rows.

    vectors: (B, width) unit vectors, B > 1.
    """
    count = len(vectors)
    return (vectors.sum(0).square().sum().item() - count) / (count * (count - 1))


def chance_loss(batch: ClipBatch, loss: str) -> float:
    """The contrastive loss if all cosines were equal, at the best scale and bias.

    loss: "softmax" or "sigmoid". The softmax loss is ln B if each caption is true of one picture only.
    """
    mine = process_group().rows(len(batch.same))
    wrong = (~batch.same).double()
    of_captions, of_pictures = wrong.sum(1)[mine], wrong.sum(0)[mine]
    if loss == "softmax":
        return ((1 + of_captions).log().mean().item() + (1 + of_pictures).log().mean().item()) / 2
    pairs = len(batch.same)
    positive = pairs / (pairs + wrong.sum())  # the fraction of true pairs among all that are compared
    return (-positive.log() - wrong.sum() / pairs * (1 - positive).clamp(min=1e-12).log()).item()


def mean_picture_loss(model: Diffusion, x0: Tensor, quantiles: int = 1024) -> float:
    """The loss of a model that always predicts the mean picture.

    x0: (B, C, S, S), B > 1.
    quantiles: of the training times, over which the loss is averaged.
    """
    variance = x0.var(0).mean().item()
    probabilities = (torch.arange(quantiles, dtype=torch.float64, device="cpu") + 0.5) / quantiles
    t = model.time_distribution.quantile(probabilities)
    _, b = model.loss_space.line(model.schedule.alpha(t), model.schedule.sigma(t).clamp(min=SMALLEST_SIGMA))
    return variance * (1 / torch.as_tensor(b) ** 2).mean().item()
