"""Sentences as vectors: the text encoder of CLIP, as published or reading in both directions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unstir.nn.pre_norm_block import PreNormBlock


@dataclass(frozen=True)
class ClipTextConfig:
    """vocabulary: number of token ids.  length: tokens of context.  mlp: hidden width.  activation: see `classic`.

    causal: every token sees those before it only, as published; else each sees all that are not padding (id 0).
    pool: "first_end", at the first token `end`; "argmax", at the largest id, which in OpenAI's vocabulary is the end;
    "mean", over the tokens that are not padding.
    """

    vocabulary: int
    length: int = 32
    width: int = 256
    depth: int = 4
    heads: int = 4
    mlp: int = 1024
    activation: str = "gelu"
    causal: bool = False
    pool: str = "mean"
    end: int = 0

    def __post_init__(self) -> None:
        if self.pool not in ("first_end", "argmax", "mean"):
            raise ValueError(f"there is no pool {self.pool!r} for words; there are: first_end, argmax, mean")


class ClipText(nn.Module):
    """Token ids (B, L) -> (B, width), normalised by a last layer norm but not to unit length.

    Source: Radford et al. 2021 (CLIP), section 2.4.
    """

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        # The table is given: drawn by nn.Embedding itself, on the "meta" device, it imports torch's compiler (seconds).
        self.embed = nn.Embedding(config.vocabulary, config.width, _weight=torch.empty(config.vocabulary, config.width))
        self.position = nn.Parameter(torch.zeros(config.length, config.width))
        self.blocks = nn.ModuleList(
            PreNormBlock(config.width, config.heads, config.mlp, config.activation, config.causal)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (B, L) int64, L up to `length`; every row has a token to pool at."""
        config = self.config
        place = None
        if config.pool != "mean":
            place = ids.argmax(1) if config.pool == "argmax" else (ids == config.end).int().argmax(1)
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            # Short texts in a long context are mostly padding. To ask a GPU how much would mean to wait for it.
            ids = ids[:, : self._seen(ids, place)]
        real = ids != 0
        x = self.embed(ids) + self.position[: ids.shape[1]]
        mask = None
        if not config.causal:
            # Where attention looks back only, padding needs no mask: it comes after all that is read.
            mask = torch.zeros(ids.shape, device=ids.device, dtype=self.position.dtype)
            mask = mask.masked_fill(~real, -1e4)[:, None, None, :]
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, mask)
        if place is not None:
            pooled: Tensor = self.norm(last(x, mask, place))
            return pooled
        x = self.norm(last(x, mask))
        weight = real.to(x.dtype).unsqueeze(-1)
        mean: Tensor = (x * weight).sum(1) / weight.sum(1)
        return mean

    def _seen(self, ids: Tensor, place: Tensor | None) -> int:
        """How many columns of ids have an effect, 1 at least."""
        pooled = 1 if place is None else int(place.max()) + 1
        if place is not None and self.config.causal:
            return pooled
        column = torch.arange(1, ids.shape[1] + 1)
        return max(pooled, int((column * (ids != 0).any(0)).max()))
