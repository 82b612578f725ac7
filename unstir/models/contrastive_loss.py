"""Contrastive losses: a picture is to be closer to its own caption than to the captions of other pictures."""

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.models.process_group import all_gather_rows, process_group


def softmax_loss(captions: Tensor, pictures: Tensor, same: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss: the mean of two cross-entropies, of pictures given captions and of captions given pictures.

    captions, pictures: (b, width) float32 unit vectors, this process's rows of the batch.
    same: (B, B) bool for the rows of all processes: whether caption i is also true of picture j. Off the diagonal such
        a pair is left out, rather than counted as wrong.
    scale: (), the factor of the cosines.
    Returns (), the mean over this process's rows.
    Source: Radford et al. 2021 (CLIP), figure 3.
    """
    mine = process_group().rows(len(same))
    own = torch.arange(mine.start, mine.stop, device=captions.device)
    also = _also_true(same)

    def cross_entropy(queries: Tensor, candidates: Tensor, left_out: Tensor) -> Tensor:
        logits = (scale * queries @ candidates.T).masked_fill(left_out, -torch.inf)
        return F.cross_entropy(logits, own)

    of_captions = cross_entropy(captions, all_gather_rows(pictures), also[mine])
    of_pictures = cross_entropy(pictures, all_gather_rows(captions), also.T[mine])
    return (of_captions + of_pictures) / 2


def sigmoid_loss(captions: Tensor, pictures: Tensor, same: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """SigLIP's loss: every pair is a binary classification of its own. The sum, divided by the number of captions.

    captions, pictures, same, scale: see `softmax_loss`.
    bias: (), added to the scaled cosines.
    Returns (), the mean over this process's captions.
    Source: Zhai et al. 2023 (SigLIP), section 3.2.
    """
    mine = process_group().rows(len(same))
    logits = scale * captions @ all_gather_rows(pictures).T + bias
    target = torch.eye(len(same), device=same.device)[mine]
    error = -F.logsigmoid((2 * target - 1) * logits)
    return error.masked_fill(_also_true(same)[mine], 0).sum() / len(captions)


def _also_true(same: Tensor) -> Tensor:
    """`same` off its diagonal: captions that are also true of another picture of the batch."""
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
