"""The text encoder of CLIP, as published (causal) or bidirectional."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unstir.nn.pre_norm_block import PreNormBlock
from unstir.nn.text import padding


@dataclass(frozen=True)
class ClipTextConfig:
    """Sizes and variants of a `ClipText`.

    vocabulary: number of token ids.
    length: tokens of context.
    width: of a token vector, divisible by heads.
    depth: number of blocks.
    heads: of the attention.
    mlp: hidden width of the MLP.
    activation: see `pre_norm_block.activation`.
    causal: every token sees only those before it, as published; else each sees all that are not padding (id 0).
    pool: where the vector is read: "first_end", at the first token `end`; "argmax", at the largest id, which is the end
        in OpenAI's vocabulary; "mean", the mean over the tokens that are not padding.
    end: id of the end token, for "first_end".
    Raises ValueError when built with another pool.
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
    """Token ids (B, L) -> (B, width), after a last layer norm, not of unit length.

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
        """ids: (B, L) int64, L up to `length`; every row has a token to pool at.  Returns (B, width)."""
        config = self.config
        token = None
        if config.pool != "mean":
            token = ids.argmax(1) if config.pool == "argmax" else (ids == config.end).int().argmax(1)
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            # Short texts in a long context are mostly padding. On a GPU, counting it would force a synchronisation.
            ids = ids[:, : self._used_length(ids, token)]
        real = ids != 0
        x = self.embed(ids) + self.position[: ids.shape[1]]
        # Causal attention needs no bias for padding: that comes after every token that is read.
        bias = None if config.causal else padding(real, self.position.dtype)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, bias)
        if token is not None:
            pooled: Tensor = self.norm(last(x, bias, token))
            return pooled
        x = self.norm(last(x, bias))
        weight = real.to(x.dtype).unsqueeze(-1)
        mean: Tensor = (x * weight).sum(1) / weight.sum(1)
        return mean

    def tokens(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of all tokens, before pooling. ids: (B, L) int64, L up to `length`.

        Returns (B, L, width), and (B, L) bool, False for padding.
        """
        real = ids != 0
        x = self.embed(ids) + self.position[: ids.shape[1]]
        bias = None if self.config.causal else padding(real, self.position.dtype)
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x)
        return out, real

    def _used_length(self, ids: Tensor, token: Tensor | None) -> int:
        """How many columns of ids have an effect, at least 1."""
        pooled = 1 if token is None else int(token.max()) + 1
        if token is not None and self.config.causal:
            return pooled
        column = torch.arange(1, ids.shape[1] + 1)
        return max(pooled, int((column * (ids != 0).any(0)).max()))
