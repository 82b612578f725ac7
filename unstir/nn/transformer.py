"""Transformer blocks of attention and SwiGLU: a plain one, and one with cross-attention that a vector modulates."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import Attention, Cache
from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm


class SwiGLU(nn.Module):
    """(silu(x·W1) ⊙ (x·W2))·W3. W3 starts at zero.

    width: of x.
    hidden: width of the product; None: 8/3 of `width`, rounded up to a multiple of 32.
    Source: Shazeer 2020.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or -(-width * 8 // 3 // 32) * 32
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        init_zero(self.down)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * value)
        return out


class Block(nn.Module):
    """A pre-norm block of self-attention and SwiGLU, for text."""

    hidden_matrices = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (B, N, width).  bias: additive attention bias, (B, 1, 1, N).  Returns as x."""
        x = x + self.attention(self.norm1(x), bias=bias)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ModulatedBlock(nn.Module):
    """A block of self-attention, cross-attention to the text and SwiGLU, modulated by noise level and pooled text.

    Its scales, shifts and gates are one projection shared by all blocks plus a learned table per block (adaLN-single).

    width: of x, divisible by heads.
    words: width of the token vectors of the text.
    Source: Chen et al. 2023 (PixArt-alpha), section 2.3.
    """

    hidden_matrices = True

    def __init__(self, width: int, heads: int, words: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(width, gain=False)
        self.attention = Attention(width, heads)
        self.norm_words = RMSNorm(width)
        self.words = Attention(width, heads, context=words)
        self.norm2 = RMSNorm(width, gain=False)
        self.mlp = SwiGLU(width)
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(
        self,
        x: Tensor,
        shared: Tensor,
        words: Tensor,
        bias: Tensor,
        rotate: tuple[Tensor, Tensor] | None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Apply the block.

        x: (B, N, width).
        shared: (B, 6, width), the modulation that all blocks share.
        words: (B, M, c), token vectors of the text.
        bias: additive attention bias from x to words, broadcastable to (B, heads, N, M).
        rotate: from `rotation`, or None.
        mask: additive bias of the self-attention, broadcastable to (B, heads, N, N), or None.
        cache: of the self-attention, or None.
        Returns (B, N, width).
        """
        modulation = (shared + self.table).to(x.dtype).unsqueeze(2)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(1)
        mixed = self.attention(self.norm1(x) * (1 + scale1) + shift1, bias=mask, rotate=rotate, cache=cache)
        x = x + (1 + gate1) * mixed
        x = x + self.words(self.norm_words(x), words, bias)
        out: Tensor = x + (1 + gate2) * self.mlp(self.norm2(x) * (1 + scale2) + shift2)
        return out


def compile_blocks(network: nn.Module) -> None:
    """Compile every transformer block of the network with torch, in place. Equal blocks are compiled once."""
    for module in network.modules():
        if isinstance(module, Block | ModulatedBlock):
            module.compile(dynamic=False)
