"""The text encoder: a small transformer over byte-pair tokens, trained together with the picture network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.nn.layout import layout_bias
from unstir.nn.norm import RMSNorm
from unstir.nn.transformer import Block


class TextEncoding(NamedTuple):
    """Texts as conditioning of a picture network.

    tokens: (B, L, width), one vector per token.
    mask: (B, 1, 1, L), the attention bias that hides padding: 0 for a token, a large negative number for padding.
    pooled: (B, width), one vector for the whole text.
    layout: (B, L, 3), where the objects lie that the tokens name (see `nn.layout`), or None.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    layout: Tensor | None = None

    def attention_bias(self, side: int) -> Tensor:
        """The additive attention bias from the patches of a square grid to the tokens, of padding and of the layout.

        side: patches in a row of the grid.
        Returns (B, 1, side², L), or (B, 1, 1, L) without a layout.
        """
        return self.mask if self.layout is None else self.mask + layout_bias(self.layout, side).to(self.mask.dtype)

    @staticmethod
    def joined(parts: "Sequence[TextEncoding]") -> "TextEncoding":
        """Several batches as one. If any has a layout, those without get an empty one (nan)."""
        layout = None
        if any(part.layout is not None for part in parts):
            layout = torch.cat([_layout_or_empty(part) for part in parts])
        tokens, masks, pooled = zip(*(part[:3] for part in parts), strict=True)
        return TextEncoding(torch.cat(tokens), torch.cat(masks), torch.cat(pooled), layout)

    def join(self, other: "TextEncoding") -> "TextEncoding":
        """Both batches as one."""
        return TextEncoding.joined([self, other])

    def one(self, i: int) -> "TextEncoding":
        """Row i alone, as a batch of one."""
        return self._each(lambda part: part[i : i + 1])

    def repeat(self, count: int) -> "TextEncoding":
        """A batch of one, `count` times."""
        return self._each(lambda part: part.expand(count, *part.shape[1:]))

    def towards(self, other: "TextEncoding", fraction: float) -> "TextEncoding":
        """The straight line to another encoding, at a fraction of the way. A token that either has is not padding."""
        tokens, pooled = (
            torch.lerp(a, b, fraction) for a, b in ((self.tokens, other.tokens), (self.pooled, other.pooled))
        )
        # Padding becomes a token gradually: at fraction f the weight of the other's tokens is f, as a bias log(f).
        weights = torch.lerp((self.mask > -1).float(), (other.mask > -1).float(), fraction)
        mask = weights.log().clamp(min=-1e4).to(self.mask.dtype)
        return TextEncoding(tokens, mask, pooled, self.layout if fraction < 0.5 else other.layout)

    def to(self, dtype: torch.dtype) -> "TextEncoding":
        """All but the layout in this dtype; coordinates stay as they are."""
        return TextEncoding(self.tokens.to(dtype), self.mask.to(dtype), self.pooled.to(dtype), self.layout)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TextEncoding":
        layout = None if self.layout is None else change(self.layout)
        return TextEncoding(change(self.tokens), change(self.mask), change(self.pooled), layout)


def _layout_or_empty(text: TextEncoding) -> Tensor:
    if text.layout is not None:
        return text.layout
    return torch.full((*text.tokens.shape[:2], 3), torch.nan, device=text.tokens.device)


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a `TextEncoder`.

    vocabulary: number of token ids; 0 is padding.
    length: tokens of context.
    width: of a token vector, divisible by heads.
    depth: number of blocks.
    heads: of the attention.
    """

    vocabulary: int
    length: int = 32
    width: int = 256
    depth: int = 2
    heads: int = 4


class TextEncoder(nn.Module):
    """Token ids -> `TextEncoding` without a layout. Bidirectional; the pooled vector is the mean over real tokens."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        # The table is given: drawn by nn.Embedding itself, on the "meta" device, it imports torch's compiler (seconds).
        self.embed = nn.Embedding(config.vocabulary, config.width, _weight=torch.empty(config.vocabulary, config.width))
        self.position = nn.Parameter(torch.zeros(config.length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)

    def forward(self, ids: Tensor) -> TextEncoding:
        """Encode texts. ids: (B, length) int64, 0 for padding; every row has a token that is not."""
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
    """The attention bias that hides padding.

    real: (B, L) bool, False for padding.
    Returns (B, 1, 1, L) of this dtype: 0 where real, -10,000 for padding.
    """
    return torch.zeros(real.shape, device=real.device, dtype=dtype).masked_fill(~real, -1e4)[:, None, None, :]
