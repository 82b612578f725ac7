"""Words as vectors: a small transformer over byte-pair tokens, trained together with the picture network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.nn.layout import layout_bias
from unstir.nn.norm import RMSNorm
from unstir.nn.transformer import Block


class TextEncoding(NamedTuple):
    """Conditioning by words.

    tokens: (B, L, width) one vector per token.  mask: (B, 1, 1, L) additive: 0 for a token, a large negative number
    for padding.  pooled: (B, width) the whole sentence.  where: (B, L, 3), where things lie by their names
    (see `layout`), or None.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    where: Tensor | None = None

    def attention_bias(self, side: int) -> Tensor:
        """The mask for the patches of a square grid: (B, 1, 1, L), or (B, 1, side², L) where they heed places."""
        return self.mask if self.where is None else self.mask + layout_bias(self.where, side).to(self.mask.dtype)

    @staticmethod
    def joined(parts: "Sequence[TextEncoding]") -> "TextEncoding":
        """Several batches as one. Those that do not say where things lie say so of no token."""
        where = None
        if any(part.where is not None for part in parts):
            where = torch.cat([_somewhere(part) for part in parts])
        tokens, masks, pooled = zip(*(part[:3] for part in parts), strict=True)
        return TextEncoding(torch.cat(tokens), torch.cat(masks), torch.cat(pooled), where)

    def join(self, other: "TextEncoding") -> "TextEncoding":
        """Both batches as one."""
        return TextEncoding.joined([self, other])

    def one(self, i: int) -> "TextEncoding":
        """Row i alone, as a batch of one."""
        return self._each(lambda part: part[i : i + 1])

    def repeat(self, count: int) -> "TextEncoding":
        """A batch of one, `count` times."""
        return self._each(lambda part: part.expand(count, *part.shape[1:]))

    def to(self, dtype: torch.dtype) -> "TextEncoding":
        return TextEncoding(self.tokens.to(dtype), self.mask.to(dtype), self.pooled.to(dtype), self.where)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TextEncoding":
        where = None if self.where is None else change(self.where)
        return TextEncoding(change(self.tokens), change(self.mask), change(self.pooled), where)


def _somewhere(words: TextEncoding) -> Tensor:
    if words.where is not None:
        return words.where
    return torch.full((*words.tokens.shape[:2], 3), torch.nan, device=words.tokens.device)


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

    def forward(self, ids: Tensor) -> TextEncoding:
        """ids: (B, length) int64, 0 for padding; every row has a token that is not."""
        real = ids != 0
        mask = padding(real, self.position.dtype)
        x = self.embed(ids) + self.position
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        weight = real.to(x.dtype).unsqueeze(-1)
        pooled = (x * weight).sum(1) / weight.sum(1)
        return TextEncoding(x, mask, pooled)


def padding(real: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, 1, L): an additive mask that hides all but the tokens that are real, (B, L)."""
    return torch.zeros(real.shape, device=real.device, dtype=dtype).masked_fill(~real, -1e4)[:, None, None, :]
