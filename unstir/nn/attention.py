"""Attention with normalised queries and keys: self-attention or cross-attention; rotary positions on a grid."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm

FEW_TOKENS = 256
"""Up to this many keys plain softmax attention is faster on a CPU in bf16; beyond, the fused kernel is."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/sqrt(d) + bias)·v.

    q: (B, H, N, d).
    k, v: (B, H, M, d).
    bias: additive attention bias, broadcastable to (B, H, N, M), or None.
    Returns (B, H, N, d).
    """
    if q.device.type != "cpu" or k.shape[2] > FEW_TOKENS or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        weights = weights + bias.to(weights.dtype)
    return torch.softmax(weights, dim=-1).to(v.dtype) @ v


class Attention(nn.Module):
    """Multi-head attention from x to x, or from x to a context. Its output layer starts at zero.

    RMS-normalised queries and keys keep the logits bounded in low precision.

    width: of x, divisible by heads.
    context: width of the context, or None for self-attention.
    Raises ValueError when built with a width that is not divisible.
    Source: Vaswani et al. 2017, section 3.2; Dehghani et al. 2023 (ViT-22B), section 2, for the norms.
    """

    def __init__(self, width: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.across = context is not None
        if context is None:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
        else:
            self.q = nn.Linear(width, width, bias=False)
            self.kv = nn.Linear(context, 2 * width, bias=False)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)
        init_zero(self.out)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        bias: Tensor | None = None,
        rotate: tuple[Tensor, Tensor] | None = None,
        cache: "Cache | None" = None,
    ) -> Tensor:
        """Attend.

        x: (B, N, width).
        context: (B, M, c), for cross-attention.
        bias: additive attention bias, broadcastable to (B, heads, N, M).
        rotate: from `rotation`, for self-attention.
        cache: keys and values of earlier tokens, which x attends to as well; those of x are added to it.
        Returns as x.
        """
        if self.across:
            assert context is not None
            q = self.q(x)
            k, v = self.kv(context).chunk(2, dim=-1)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = self._split(q), self._split(k), self._split(v)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if rotate is not None:
            q, k = rotated(q, *rotate), rotated(k, *rotate)
        if cache is not None:
            k, v = cache.extended(k, v)
        out: Tensor = self.out(attend(q, k, v, bias).transpose(1, 2).flatten(2))
        return out


class Cache:
    """Keys and values of the tokens that one attention layer has seen, so that no token is computed twice."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values, (B, H, n, d); returns those of all tokens so far."""
        self._keys, self._values = [torch.cat([*self._keys, k], 2)], [torch.cat([*self._values, v], 2)]
        return self._keys[0], self._values[0]


def rotation(side: int, head: int, theta: float = 100.0) -> tuple[Tensor, Tensor]:
    """Rotary position embedding of a square grid: half of the channels rotate with the row, half with the column.

    side: tokens in a row.
    head: channels of an attention head, divisible by 4; ValueError if not.
    theta: base of the frequencies.
    Returns cosines and sines, each (side², head/2), for `rotated`.
    Source: Su et al. 2021 (RoPE); two axes as in Heo et al. 2024.
    """
    if head % 4:
        raise ValueError(f"rotary positions in two axes need a head width divisible by 4, got {head}")
    # On the CPU even while a network is built without memory ("meta"): this is a constant, not a weight.
    frequency = theta ** -(torch.arange(head // 4, device="cpu") / (head // 4))
    index = torch.arange(side, device="cpu")
    row = index.repeat_interleave(side)[:, None] * frequency
    column = index.repeat(side)[:, None] * frequency
    angle = torch.cat([row, column], dim=1)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the channels j and j + d/2 of each token by its angle j.

    x: (B, H, N, d).
    cos, sin: (N, d/2), from `rotation`.
    Returns as x.
    """
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
