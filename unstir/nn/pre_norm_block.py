"""The classic transformer block, with layer norms and biases, in which CLIP's two encoders were written."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import attend


def quick_gelu(x: Tensor) -> Tensor:
    """x·sigmoid(1.702·x), the approximation that OpenAI's CLIP was trained with. Source: Hendrycks and Gimpel 2016."""
    return x * torch.sigmoid(1.702 * x)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """ "gelu" (exact, by erf) or "quick_gelu"; ValueError for another name."""
    match name:
        case "gelu":
            return F.gelu
        case "quick_gelu":
            return quick_gelu
    raise ValueError(f"there is no activation {name!r} here; there are: gelu, quick_gelu")


class BiasedAttention(nn.Module):
    """Multi-head attention of x to itself, with biases and no norm of its own.

    width: divisible by heads.  causal: every token sees itself and those before it only.
    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, place: Tensor | None = None) -> Tensor:
        """x: (B, N, width); mask: (B, 1, 1, N) additive, for attention that is not causal. Returns as x.

        place: (B,) int64, a token of each row; (B, width) is returned then, what it alone sees.
        """
        if place is not None:
            return self._at(x, mask, place)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True) if self.causal else attend(q, k, v, mask)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out

    def _at(self, x: Tensor, mask: Tensor | None, place: Tensor) -> Tensor:
        b, n, width = x.shape
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(x[torch.arange(b, device=x.device), place], weight[:width], bias[:width])
        k, v = F.linear(x, weight[width:], bias[width:]).view(b, n, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.causal:
            later = torch.arange(n, device=x.device) > place[:, None]
            mask = torch.zeros(b, n, device=x.device, dtype=q.dtype).masked_fill(later, -torch.inf)[:, None, None]
        out: Tensor = self.out(attend(q.view(b, self.heads, 1, -1), k, v, mask).flatten(1))
        return out


class MLP(nn.Module):
    """Linear, activation, linear. hidden: the width between."""

    def __init__(self, width: int, hidden: int, kind: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = activation(kind)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class PreNormBlock(nn.Module):
    """Layer norm before attention and before the MLP, each added to what came in.

    Its branches do not start at zero: a class token would then begin as the same vector for every picture, and a
    sigmoid loss was seen never to leave that.
    Source: Radford et al. 2019 (GPT-2), section 2.3; Dosovitskiy et al. 2021 (ViT), eq. 2 and 3.
    """

    hidden_matrices = True

    def __init__(self, width: int, heads: int, hidden: int, kind: str, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = BiasedAttention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden, kind)

    def forward(self, x: Tensor, mask: Tensor | None = None, place: Tensor | None = None) -> Tensor:
        """x: (B, N, width); mask: (B, 1, 1, N) additive. Returns as x.

        place: (B,) int64, a token of each row; (B, width) is returned then, that token alone. It is all that a model
        asks of its last block if it reads one token, and a sixth of the work.
        """
        seen = self.attention(self.norm1(x), mask, place)
        x = seen + (x if place is None else x[torch.arange(len(x), device=x.device), place])
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
