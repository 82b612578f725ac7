"""Where things lie, read from the words alone; and how the patches of a picture heed it.

Pictures teach "left of" late, long after what things are called (arXiv 2601.06338; docs/log.md, 2026-11-20). The words
alone teach it at once, where it is known what lay where: so a small reader learns that, and what it finds becomes a
bias of the attention from patches to words: each listens to the names of what lies nearest. Source of the bias: Balaji
et al. 2022 (eDiff-I), section 5.3, who have the places painted by hand.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.norm import RMSNorm
from unstir.nn.transformer import Block

BIAS_LIMIT = 6.0
"""How much less, in logits, a patch hears at most of a thing that is not the nearest one."""

MARGIN = 0.25
"""Things whose squared distance, in their own sizes, is larger than the nearest one's by less are heard in full."""


@dataclass(frozen=True)
class LayoutConfig:
    """Of the reader's blocks. width: divisible by heads."""

    width: int = 128
    depth: int = 3
    heads: int = 4


class LayoutPredictor(nn.Module):
    """Vectors of tokens -> for each, whether it names a thing, and where on the canvas that lies."""

    def __init__(self, config: LayoutConfig, words: int, length: int) -> None:
        """words: width of the tokens' vectors.  length: tokens of context."""
        super().__init__()
        self.embed = nn.Linear(words, config.width)
        self.position = nn.Parameter(torch.zeros(length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)
        self.out = nn.Linear(config.width, 4)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """vectors: (B, L, words), of single tokens; mask: (B, 1, 1, L) additive.

        Returns (B, L, 4): the logit that a token names a thing; x and y of its middle and its scale, as shares.
        """
        x = self.embed(vectors) + self.position
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.out(self.norm(x))
        return out


def layout_loss(found: Tensor, where: Tensor) -> Tensor:
    """How far a reader is from the truth: the cross-entropy of what names a thing, and the squared error of where.

    found: (B, L, 4), see `LayoutPredictor`.  where: (B, L, 3), nan for tokens that name nothing. The means over a
    picture's tokens and then over all pictures, so that processes that share a batch equally may average theirs.
    """
    found = found.float()
    told = ~where.isnan().any(-1)
    names = F.binary_cross_entropy_with_logits(found[..., 0], told.float())
    # nan is put away before the difference: multiplied by 0 afterwards, its gradient would still be nan.
    error = ((found[..., 1:] - where.nan_to_num()).square().sum(-1) * told).sum(1) / told.sum(1).clamp(min=1)
    return names + error.mean()


def predicted_layout(found: Tensor) -> Tensor:
    """What a reader found, (B, L, 4), as (B, L, 3): nan for tokens that name nothing."""
    where = found[..., 1:].float()
    return where.masked_fill(found[..., :1] < 0, torch.nan)


def layout_bias(where: Tensor, side: int) -> Tensor:
    """(B, 1, side², L): what is added to the logits of attention from patches, row by row, to tokens.

    where: (B, L, 3), see `predicted_layout`. Nothing for tokens that name no thing, nor where all things lie in
    one place.
    """
    middle = (torch.arange(side, device=where.device) + 0.5) / side
    x, y = middle.repeat(side)[:, None], middle.repeat_interleave(side)[:, None]
    place = where.float()[:, None]
    off = ((x - place[..., 0]).square() + (y - place[..., 1]).square()) / place[..., 2].clamp(min=0.1).square()
    nearest = off.nan_to_num(torch.inf).amin(-1, keepdim=True)
    farther = (off - nearest - MARGIN).clamp(0, 1)  # nan stays nan, also where all are
    return -BIAS_LIMIT * farther.nan_to_num()[:, None]
