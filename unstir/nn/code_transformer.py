"""A transformer over a grid of codes, conditioned on a text: causal, or bidirectional over masked codes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import Cache, rotation
from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm
from unstir.nn.text import TextEncoding
from unstir.nn.transformer import ModulatedBlock


@dataclass(frozen=True)
class CodeTransformerConfig:
    """Sizes of a `CodeTransformer`.

    side: codes along a side of the grid.
    codes: number of codes there are.
    width: of a token, divisible by heads, and width/heads by 4.
    depth: number of blocks.
    heads: of the attention.
    words: width of the token vectors of the text.
    dropout: fraction of the input codes that are replaced by random ones in training, against exposure bias.
    """

    side: int
    codes: int
    width: int = 256
    depth: int = 8
    heads: int = 4
    words: int = 256
    dropout: float = 0.0


class CodeTransformer(nn.Module):
    """Tokens (B, N), text -> logits (B, N, codes).

    causal: position i sees the tokens 0 … i only. It is then fed the code *before* each position, and the token START
        first. Else it sees all, and MASK stands where a code is not known.
    Source: Esser et al. 2021 (VQGAN), section 3.2; Chang et al. 2022 (MaskGIT), section 3.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: CodeTransformerConfig, causal: bool) -> None:
        super().__init__()
        self.config, self.causal = config, causal
        width, count = config.width, config.side**2
        self.embed = nn.Embedding(config.codes + 1, width, _weight=torch.empty(config.codes + 1, width))
        self.position = nn.Parameter(torch.zeros(count, width))
        self.pooled = nn.Linear(config.words, width)
        self.modulate = nn.Linear(width, 6 * width)
        init_zero(self.modulate)
        self.blocks = nn.ModuleList(ModulatedBlock(width, config.heads, config.words) for _ in range(config.depth))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, config.codes)
        init_zero(self.out)
        cos, sin = rotation(config.side, width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def special(self) -> int:
        """The token that stands for no code: START of the causal one, MASK of the other."""
        return self.config.codes

    def forward(self, tokens: Tensor, words: TextEncoding) -> Tensor:
        """Logits for every position. tokens: (B, side²) int64, as the class says."""
        count = tokens.shape[1]
        mask = None
        if self.causal:
            later = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
            mask = torch.zeros(count, count, device=tokens.device).masked_fill(later, -1e4)[None, None]
        return self._run(tokens, words, 0, mask, None)

    def step(self, token: Tensor, position: int, words: TextEncoding, caches: list[Cache]) -> Tensor:
        """Logits of one position, of a causal one. token: (B,), what is fed there.  Returns (B, codes).

        caches: from `new_caches`, with all positions before this one.
        """
        return self._run(token[:, None], words, position, None, caches)[:, 0]

    def new_caches(self) -> list[Cache]:
        """One empty cache for each block."""
        return [Cache() for _ in self.blocks]

    def _run(
        self, tokens: Tensor, words: TextEncoding, start: int, mask: Tensor | None, caches: list[Cache] | None
    ) -> Tensor:
        where = slice(start, start + tokens.shape[1])
        x = self.embed(tokens) + self.position[where]
        vector = F.silu(self.pooled(words.pooled.to(x.dtype)))
        shared = self.modulate(vector).unflatten(-1, (6, -1))
        rotate = self.cos[where], self.sin[where]
        for i, block in enumerate(self.blocks):
            cache = None if caches is None else caches[i]
            x = block(x, shared, words.tokens.to(x.dtype), words.mask.to(x.dtype), rotate, mask, cache)
        out: Tensor = self.out(self.norm(x))
        return out
