"""Uses of CLIP vectors without further training: search, classification, and text directions.

Vectors have length one, in rows of (…, width) tensors, as `Clip.embed_pictures` and `Clip.embed_words` return them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.models.clip import Clip
from unstir.models.pixels import to_model

LABEL = "{}"
"""The placeholder of the label in a template."""


class Nearest(NamedTuple):
    """The vectors with the highest cosines to each of Q queries, best first.

    rows: (Q, n) int64, indices of the vectors.
    cosines: (Q, n).
    """

    rows: Tensor
    cosines: Tensor


@torch.no_grad()
def embed_batches(model: Clip, batches: Iterable[Tensor]) -> Tensor:
    """Embed pictures batch by batch.

    batches: each uint8 (B, S, S, C) of the model's size, straight alpha.
    Returns (N, width) on the CPU.
    """
    vectors = [model.embed_pictures(to_model(pixels.to(model.device))).cpu() for pixels in batches]
    return torch.cat(vectors) if vectors else torch.empty(0, model.config.width)


@torch.no_grad()
def class_embeddings(model: Clip, labels: Sequence[str], templates: Sequence[str] = (LABEL,)) -> Tensor:
    """One vector a label: the mean over the templates, normalised to length one.

    templates: such as "a picture of {}".
    Returns (labels, width) on the CPU.
    Raises ValueError for a template without {}.
    Source: Radford et al. 2021 (CLIP), section 3.1.4.
    """
    invalid = [template for template in templates if LABEL not in template]
    if invalid or not templates:
        found = repr(invalid[0]) if invalid else "no template"
        raise ValueError(f"a template needs {LABEL} where the label goes, got {found}")
    texts = [[template.replace(LABEL, label) for template in templates] for label in labels]
    rows = [model.embed_ids(model.tokenize(same)).mean(0) for same in texts]
    return F.normalize(torch.stack(rows), dim=-1).cpu()


@torch.no_grad()
def label_probabilities(model: Clip, cosines: Tensor) -> Tensor:
    """The probability of each label, as the loss that the model was trained with defines it.

    cosines: (N, labels).
    Returns (N, labels) in [0, 1]; after training with the softmax loss rows sum to one, after training with the
    sigmoid loss each label is independent of the others.
    """
    scaled = cosines * model.scale.cpu()
    if model.config.loss == "sigmoid":
        return torch.sigmoid(scaled + model.bias.float().cpu())
    return scaled.softmax(-1)


def nearest(queries: Tensor, vectors: Tensor, count: int) -> Nearest:
    """The `count` vectors with the highest cosines to each query; all where there are fewer.

    queries: (Q, width).
    vectors: (N, width).
    Of equal cosines the first row comes first.
    """
    cosines, rows = torch.sort(queries @ vectors.T, dim=1, descending=True, stable=True)
    return Nearest(rows[:, :count], cosines[:, :count])


def apply_direction(start: Tensor, before: Tensor, after: Tensor, scale: float = 1.0) -> Tensor:
    """Add a text direction to vectors: start + scale·(after - before), normalised to length one.

    start: (…, width).
    before, after: (…, width), of two texts that differ in what is to change.
    Source: Ramesh et al. 2022 (unCLIP), section 3.3.
    """
    return F.normalize(start + scale * (after - before), dim=-1)
