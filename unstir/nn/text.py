"""Words as vectors: a small transformer over byte-pair tokens, trained together with the picture network."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.nn.norm import RMSNorm
from unstir.nn.transformer import Block


class Words(NamedTuple):
    """Conditioning by words.

    tokens: (B, L, width) one vector per token.  mask: (B, 1, 1, L) additive: 0 for a token, a large negative number
    for padding.  pooled: (B, width) the whole sentence.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def join(self, other: "Words") -> "Words":
        """Both batches as one."""
        return Words(*(torch.cat(pair) for pair in zip(self, other, strict=True)))

    def one(self, i: int) -> "Words":
        """Row i alone, as a batch of one."""
        return Words(*(part[i : i + 1] for part in self))

    def repeat(self, count: int) -> "Words":
        """A batch of one, `count` times."""
        return Words(*(part.expand(count, *part.shape[1:]) for part in self))

    def to(self, dtype: torch.dtype) -> "Words":
        return Words(*(part.to(dtype) for part in self))


@dataclass(frozen=True)
class TextConfig:
    """vocabulary: number of token ids, 0 is padding.  length: tokens of context.  The rest: of the blocks."""

    vocabulary: int
    length: int = 32
    width: int = 256
    depth: int = 2
    heads: int = 4


class TextEncoder(nn.Module):
    """Token ids -> Words. Bidirectional; the pooled vector is the mean over real tokens."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        # The table is given: drawn by nn.Embedding itself, on the "meta" device, it imports torch's compiler (seconds).
        self.embed = nn.Embedding(config.vocabulary, config.width, _weight=torch.empty(config.vocabulary, config.width))
        self.position = nn.Parameter(torch.zeros(config.length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)

    def forward(self, ids: Tensor) -> Words:
        """ids: (B, length) int64, 0 for padding; every row has a token that is not."""
        real = ids != 0
        mask = torch.zeros(ids.shape, device=ids.device, dtype=self.position.dtype)
        mask = mask.masked_fill(~real, -1e4)[:, None, None, :]
        x = self.embed(ids) + self.position
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        weight = real.to(x.dtype).unsqueeze(-1)
        pooled = (x * weight).sum(1) / weight.sum(1)
        return Words(x, mask, pooled)
