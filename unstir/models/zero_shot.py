"""What one does with vectors of pictures and words in one space: find, classify, and go in a direction.

Vectors have length one, in rows of (…, width) tensors, as `Clip.embed_pictures` and `Clip.embed_words` give them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.models.clip import Clip
from unstir.models.pixels import to_model

LABEL = "{}"
"""Where a template has its label."""


class Nearest(NamedTuple):
    """The nearest rows to each of Q queries, best first.  rows: (Q, n) int64.  cosines: (Q, n)."""

    rows: Tensor
    cosines: Tensor


@torch.no_grad()
def embed_batches(model: Clip, batches: Iterable[Tensor]) -> Tensor:
    """batches: uint8 (B, S, S, C) each, straight alpha, of the model's size. Returns (N, width) on the CPU."""
    vectors = [model.embed_pictures(to_model(pixels.to(model.device))).cpu() for pixels in batches]
    return torch.cat(vectors) if vectors else torch.empty(0, model.config.width)


@torch.no_grad()
def class_embeddings(model: Clip, labels: Sequence[str], templates: Sequence[str] = (LABEL,)) -> Tensor:
    """One vector a label, (labels, width) on the CPU: the mean over the templates, brought back to length one.

    templates: "a picture of {}", each with the place of its label. ValueError for one without.
    Source: Radford et al. 2021 (CLIP), section 3.1.4.
    """
    lost = [template for template in templates if LABEL not in template]
    if lost or not templates:
        raise ValueError(f"a template says with {LABEL} where its label goes: {lost[0] if lost else 'there is none'}")
    texts = [[template.replace(LABEL, label) for template in templates] for label in labels]
    rows = [model.embed_ids(model.tokenize(same)).mean(0) for same in texts]
    return F.normalize(torch.stack(rows), dim=-1).cpu()


@torch.no_grad()
def label_probabilities(model: Clip, cosines: Tensor) -> Tensor:
    """How sure the model is of each label: (N, labels) cosines to (N, labels) in [0, 1], as its loss reads them.

    Rows add up to one where it was trained by the softmax; by the sigmoid each label stands alone.
    """
    scaled = cosines * model.scale.cpu()
    if model.config.loss == "sigmoid":
        return torch.sigmoid(scaled + model.bias.float().cpu())
    return scaled.softmax(-1)


def nearest(queries: Tensor, vectors: Tensor, count: int) -> Nearest:
    """The `count` rows of vectors (N, width) nearest to each query (Q, width); all N where there are fewer.

    Of equally near ones the first comes first.
    """
    cosines, rows = torch.sort(queries @ vectors.T, dim=1, descending=True, stable=True)
    return Nearest(rows[:, :count], cosines[:, :count])


def apply_direction(start: Tensor, before: Tensor, after: Tensor, strength: float = 1.0) -> Tensor:
    """start: (…, width), moved by strength·(after - before) and brought back to length one.

    What two sentences differ in is, roughly, the same step for pictures. Source: Ramesh et al. 2022 (unCLIP),
    section 3.3.
    """
    return F.normalize(start + strength * (after - before), dim=-1)
