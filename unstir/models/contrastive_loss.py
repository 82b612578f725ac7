"""Losses that draw a picture and its own words together and the words of other pictures away from it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.models.process_group import all_gather_rows, process_group


def softmax_loss(captions: Tensor, pictures: Tensor, same: Tensor, scale: Tensor) -> Tensor:
    """Which picture does this caption belong to, and which caption this picture? Two cross-entropies, their mean.

    captions, pictures: (b, width) float32 unit vectors, this process's rows of the batch.  same: (B, B) bool for the
    rows of all processes; where it is true off the diagonal the pair counts in neither question, rather than as wrong.
    scale: (), what cosines are multiplied by. Returns (), the mean over this process's rows.
    Source: Radford et al. 2021 (CLIP), figure 3.
    """
    mine = process_group().rows(len(same))
    answer = torch.arange(mine.start, mine.stop, device=captions.device)
    also = _also_true(same)

    def question(asked: Tensor, among: Tensor, left_out: Tensor) -> Tensor:
        logits = (scale * asked @ among.T).masked_fill(left_out, -torch.inf)
        return F.cross_entropy(logits, answer)

    by_caption = question(captions, all_gather_rows(pictures), also[mine])
    by_picture = question(pictures, all_gather_rows(captions), also.T[mine])
    return (by_caption + by_picture) / 2


def sigmoid_loss(captions: Tensor, pictures: Tensor, same: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Does this caption belong to this picture? Asked of every pair by itself, summed, and divided by the captions.

    Arguments as of `softmax_loss`; bias: (), added to the scaled cosines. Returns ().
    Source: Zhai et al. 2023 (SigLIP), section 3.2.
    """
    mine = process_group().rows(len(same))
    logits = scale * captions @ all_gather_rows(pictures).T + bias
    belongs = torch.eye(len(same), device=same.device)[mine]
    error = -F.logsigmoid((2 * belongs - 1) * logits)
    return error.masked_fill(_also_true(same)[mine], 0).sum() / len(captions)


def _also_true(same: Tensor) -> Tensor:
    """`same` off its diagonal: pairs that are no pair of the batch, and yet not wrong."""
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
