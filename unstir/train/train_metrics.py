"""What the log says of a model beside its loss, so that `diagnose` can tell when training goes wrong."""

from typing import Any

import torch
from torch import Tensor

from unstir.models.clip import Clip, ClipBatch
from unstir.models.diffusion import SMALLEST_SIGMA, Diffusion
from unstir.models.generative import Trainable
from unstir.models.process_group import process_group


@torch.no_grad()
def train_metrics(model: Trainable, batch: Any) -> dict[str, float]:
    """Quantities for a line of the log, from this process's rows of a batch; none for a model that has none.

    blind: the loss of a guess that looks at nothing.  Of a CLIP also scale, and the mean cosines of different vectors.
    """
    match model:
        case Clip() | Diffusion() if len(batch.x0) < 2:
            return {}
        case Clip():
            return {
                "blind": chance_loss(batch, model.config.loss),
                "scale": model.scale.item(),
                "cosine of pictures": mean_cosine(model.embed_pictures(batch.x0)),
                "cosine of words": mean_cosine(model.embed_ids(batch.ids)),
            }
        case Diffusion():
            return {"blind": mean_picture_loss(model, batch.x0)}
        case _:
            return {}


def mean_cosine(vectors: Tensor) -> float:
    """Of all pairs of different rows. vectors: (B, width) unit vectors, B > 1."""
    count = len(vectors)
    return (vectors.sum(0).square().sum().item() - count) / (count * (count - 1))


def chance_loss(batch: ClipBatch, loss: str) -> float:
    """The contrastive loss of equal cosines, scaled as well as can be: for the softmax ln B where captions are true of
    their own pictures only.
    """
    mine = process_group().rows(len(batch.same))
    wrong = (~batch.same).double()
    of_captions, of_pictures = wrong.sum(1)[mine], wrong.sum(0)[mine]
    if loss == "softmax":
        return ((1 + of_captions).log().mean().item() + (1 + of_pictures).log().mean().item()) / 2
    pairs = len(batch.same)
    share = pairs / (pairs + wrong.sum())  # of all pairs that are asked about, those that belong together
    return (-share.log() - wrong.sum() / pairs * (1 - share).clamp(min=1e-12).log()).item()


def mean_picture_loss(model: Diffusion, x0: Tensor, quantiles: int = 1024) -> float:
    """The loss of a model that always draws the mean of all pictures. x0: (B, C, S, S), B > 1."""
    variance = x0.var(0).mean().item()
    shares = (torch.arange(quantiles, dtype=torch.float64, device="cpu") + 0.5) / quantiles
    t = model.time_distribution.quantile(shares)
    _, b = model.loss_space.line(model.schedule.alpha(t), model.schedule.sigma(t).clamp(min=SMALLEST_SIGMA))
    return variance * (1 / torch.as_tensor(b) ** 2).mean().item()
