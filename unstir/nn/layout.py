"""Layout: where in the picture the named objects lie, predicted from the caption, and the attention bias from it.

Diffusion training learns "left of" long after the names of objects (arXiv 2601.06338; docs/log.md, 2026-11-20). From
captions alone a small network learns it soon, where it is known which object lay where. Its prediction becomes a bias
of the attention from patches to tokens: each patch attends less to the names of objects that are not the nearest one.
Source of the bias: Balaji et al. 2022 (eDiff-I), section 5.3, where the layout is painted by hand.

A layout is (B, L, 3): for each token that names an object the x and y of its centre and its scale, as fractions of the
side of the picture; nan for every other token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.norm import RMSNorm
from unstir.nn.transformer import Block

BIAS_LIMIT = 6.0
"""The largest amount, in logits, by which attention to an object that is not the nearest one is lowered."""

MARGIN = 0.25
"""Objects whose squared distance, in units of their scale, exceeds the nearest one's by less are not lowered."""


@dataclass(frozen=True)
class LayoutConfig:
    """Sizes of a `LayoutPredictor`.

    width: of its tokens, divisible by heads.
    depth: number of blocks.
    heads: of the attention.
    """

    width: int = 128
    depth: int = 3
    heads: int = 4


class LayoutPredictor(nn.Module):
    """Predicts from token vectors which tokens name an object, and where that lies."""

    def __init__(self, config: LayoutConfig, words: int, length: int) -> None:
        """words: width of the token vectors.  length: tokens of context."""
        super().__init__()
        self.embed = nn.Linear(words, config.width)
        self.position = nn.Parameter(torch.zeros(length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)
        self.out = nn.Linear(config.width, 4)

    def forward(self, vectors: Tensor, bias: Tensor) -> Tensor:
        """Predict a layout.

        vectors: (B, L, words), of the tokens by themselves, without context.
        bias: (B, 1, 1, L), the attention bias that hides padding.
        Returns (B, L, 4): the logit that a token names an object, then x, y and scale.
        """
        x = self.embed(vectors) + self.position
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.out(self.norm(x))
        return out


def layout_loss(predicted: Tensor, layout: Tensor) -> Tensor:
    """The cross-entropy of which tokens name an object, plus the squared error of x, y and scale where one does.

    Means over the tokens of each picture and then over all pictures, so that processes that share a batch equally may
    average theirs.

    predicted: (B, L, 4), see `LayoutPredictor`.
    layout: (B, L, 3), the true one.
    Returns ().
    """
    predicted = predicted.float()
    names = ~layout.isnan().any(-1)
    cross_entropy = F.binary_cross_entropy_with_logits(predicted[..., 0], names.float())
    # nan is replaced before the difference: multiplied by 0 afterwards, its gradient would still be nan.
    error = (predicted[..., 1:] - layout.nan_to_num()).square().sum(-1)
    return cross_entropy + ((error * names).sum(1) / names.sum(1).clamp(min=1)).mean()


def predicted_layout(predicted: Tensor) -> Tensor:
    """The output of a `LayoutPredictor`, (B, L, 4), as a layout, (B, L, 3)."""
    layout = predicted[..., 1:].float()
    return layout.masked_fill(predicted[..., :1] < 0, torch.nan)


def layout_bias(layout: Tensor, side: int) -> Tensor:
    """The attention bias from the patches of a square grid to tokens: 0 to -BIAS_LIMIT.

    It is 0 for tokens that name no object, and everywhere if all objects lie in one place.

    layout: (B, L, 3).
    side: patches in a row of the grid.
    Returns (B, 1, side², L), patches row by row.
    """
    centre = (torch.arange(side, device=layout.device) + 0.5) / side
    x, y = centre.repeat(side)[:, None], centre.repeat_interleave(side)[:, None]
    objects = layout.float()[:, None]
    distance = (x - objects[..., 0]).square() + (y - objects[..., 1]).square()
    distance = distance / objects[..., 2].clamp(min=0.1).square()
    nearest = distance.nan_to_num(torch.inf).amin(-1, keepdim=True)
    farther = (distance - nearest - MARGIN).clamp(0, 1)  # nan stays nan, also where all are
    return -BIAS_LIMIT * farther.nan_to_num()[:, None]
