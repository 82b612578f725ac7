"""The transformer block of CLIP's two encoders: pre-norm, with layer norms and biases."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import attend


def quick_gelu(x: Tensor) -> Tensor:
    """x·sigmoid(1.702·x), the approximation that OpenAI's CLIP was trained with. Source: Hendrycks and Gimpel 2016."""
    return x * torch.sigmoid(1.702 * x)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of this name: "gelu" (exact, by erf) or "quick_gelu"; ValueError for any other."""
    match name:
        case "gelu":
            return F.gelu
        case "quick_gelu":
            return quick_gelu
    raise ValueError(f"there is no activation {name!r} here; there are: gelu, quick_gelu")


class SelfAttention(nn.Module):
    """Multi-head self-attention as in the original transformer: linear layers with bias, no norm of its own.

    width: of x, divisible by heads.
    causal: every token attends only to itself and those before it.
    Raises ValueError when built with a width that is not divisible.
    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None, token: Tensor | None = None) -> Tensor:
        """Attend.

        x: (B, N, width).
        bias: additive attention bias, (B, 1, 1, N), for attention that is not causal.
        token: (B,) int64, one token of each row, of which alone the output is wanted; None: of all.
        Returns (B, N, width), or (B, width) for one token.
        """
        if token is not None:
            return self._of_token(x, bias, token)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True) if self.causal else attend(q, k, v, bias)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _of_token(self, x: Tensor, bias: Tensor | None, token: Tensor) -> Tensor:
        b, n, width = x.shape
        weight, offset = self.qkv.weight, self.qkv.bias
        q = F.linear(x[torch.arange(b, device=x.device), token], weight[:width], offset[:width])
        k, v = F.linear(x, weight[width:], offset[width:]).view(b, n, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.causal:
            later = torch.arange(n, device=x.device) > token[:, None]
            bias = torch.zeros(b, n, device=x.device, dtype=q.dtype).masked_fill(later, -torch.inf)[:, None, None]
        out: Tensor = self.out(attend(q.view(b, self.heads, 1, -1), k, v, bias).flatten(1))
        return out


class MLP(nn.Module):
    """Linear, activation, linear.

    width: of x.
    hidden: width between the two layers.
    kind: see `activation`.
    """

    def __init__(self, width: int, hidden: int, kind: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = activation(kind)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, width).  Returns as x."""
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class PreNormBlock(nn.Module):
    """A residual block: layer norm and self-attention, then layer norm and MLP.

    Its branches do not start at zero. If they did, a class token would begin as the same vector for every picture, and
    in experiments training with the sigmoid loss never left that state.

    width: of x, divisible by heads.
    hidden: width within the MLP.
    kind: see `activation`.
    causal: every token attends only to itself and those before it.
    Source: Radford et al. 2019 (GPT-2), section 2.3; Dosovitskiy et al. 2021 (ViT), eq. 2 and 3.
    """

    hidden_matrices = True

    def __init__(self, width: int, heads: int, hidden: int, kind: str, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden, kind)

    def forward(self, x: Tensor, bias: Tensor | None = None, token: Tensor | None = None) -> Tensor:
        """Apply the block.

        x: (B, N, width).
        bias: additive attention bias, (B, 1, 1, N).
        token: (B,) int64, one token of each row, of which alone the output is wanted; None: of all. A model that reads
            one token asks its last block for no more, which is a sixth of the work.
        Returns (B, N, width), or (B, width) for one token.
        """
        mixed = self.attention(self.norm1(x), bias, token)
        x = mixed + (x if token is None else x[torch.arange(len(x), device=x.device), token])
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
