"""A U-Net: convolutions at several scales, attention at the coarse ones, conditioned on a noise level and on a text."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import Attention
from unstir.nn.conv import Conv
from unstir.nn.embed import LevelEmbedding
from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm
from unstir.nn.text import TextEncoding


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a `UNet`. One entry for each scale, fine to coarse, in widths, blocks and attend.

    size: side of a picture in pixels, a multiple of patch·2^(scales-1).
    channels: of a picture.
    patch: side of the squares of pixels that are folded into channels before the first convolution.
    widths: channels.
    blocks: residual blocks on the way down, and as many on the way up.
    attend: whether there is attention.
    head: channels of an attention head.
    words: width of the token vectors of the text.
    vector: width of the conditioning vector (noise level and pooled text).
    Raises ValueError when built with values that do not fit together.
    """

    size: int
    channels: int
    patch: int = 2
    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (1, 2, 3)
    attend: tuple[bool, ...] = (False, True, True)
    head: int = 32
    words: int = 256
    vector: int = 256

    def __post_init__(self) -> None:
        step = self.patch * 2 ** (len(self.widths) - 1)
        if self.size % step:
            raise ValueError(f"size {self.size} is not a multiple of {step} (patch times the coarsest scale)")
        if not len(self.widths) == len(self.blocks) == len(self.attend):
            raise ValueError("widths, blocks and attend need one entry per scale each")


class Residual(nn.Module):
    """norm, silu, conv, modulated norm, silu, conv; then, where wanted, self-attention and cross-attention to the text.

    inside: channels of the input.
    width: channels of the output.
    config: of the whole network.
    attend: whether there is attention.
    Source: Ho et al. 2020, appendix B; scale and shift by the vector as in Dhariwal and Nichol 2021.
    """

    hidden_matrices = True

    def __init__(self, inside: int, width: int, config: UNetConfig, attend: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(min(32, inside // 4), inside)
        self.conv1 = Conv(inside, width, 3)
        self.modulate = nn.Linear(config.vector, 2 * width)
        self.norm2 = nn.GroupNorm(min(32, width // 4), width)
        self.conv2 = Conv(width, width, 3)
        init_zero(self.conv2)
        self.skip = Conv(inside, width, 1) if inside != width else nn.Identity()
        self.attend = attend
        if attend:
            self.norm3 = RMSNorm(width)
            self.attention = Attention(width, width // config.head)
            self.norm4 = RMSNorm(width)
            self.words = Attention(width, width // config.head, context=config.words)

    def forward(self, x: Tensor, vector: Tensor, words: TextEncoding) -> Tensor:
        """x: (B, inside, h, w).  vector: (B, v).  words: the text.  Returns (B, width, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulate(vector)[:, :, None, None].to(h.dtype).chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        x = self.skip(x) + h
        return self._attended(x, words) if self.attend else x

    def _attended(self, x: Tensor, words: TextEncoding) -> Tensor:
        b, c, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm3(tokens))
        tokens = tokens + self.words(self.norm4(tokens), words.tokens, words.attention_bias(x.shape[-1]))
        out: Tensor = tokens.transpose(1, 2).reshape(b, c, height, width)
        return out


class UNet(nn.Module):
    """(B, C, S, S), level (B,), text -> (B, C, S, S). Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.inward = Conv(config.channels * config.patch**2, widths[0], 3)
        self.level = LevelEmbedding(config.vector)
        self.pooled = nn.Linear(config.words, config.vector)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for i, (width, blocks, attend) in enumerate(zip(widths, config.blocks, config.attend, strict=True)):
            self.down.append(nn.ModuleList(Residual(width, width, config, attend) for _ in range(blocks)))
            self.up.append(nn.ModuleList(Residual(2 * width, width, config, attend) for _ in range(blocks)))
            if i + 1 < len(widths):
                self.shrink.append(Conv(4 * width, widths[i + 1], 1))
                self.grow.append(Conv(widths[i + 1], 4 * width, 1))
        self.norm = nn.GroupNorm(min(32, widths[0] // 4), widths[0])
        self.out = Conv(widths[0], config.channels * config.patch**2, 3)
        init_zero(self.out)

    def forward(self, xt: Tensor, level: Tensor, words: TextEncoding) -> Tensor:
        """Predict the picture, or what the model's prediction is.

        xt: (B, C, S, S) of about unit variance; S may differ from `config.size`.
        level: (B,), the log signal-to-noise ratio.
        words: the text.
        Returns as xt. Raises ValueError for sides that the scales do not divide.
        """
        step = self.config.patch * 2 ** (len(self.config.widths) - 1)
        if xt.shape[-1] % step or xt.shape[-2] % step:
            raise ValueError(f"the sides of a picture must be multiples of {step}, got {tuple(xt.shape[-2:])}")
        dtype = self.inward.weight.dtype
        vector = F.silu(self.level(level) + self.pooled(words.pooled.to(dtype)))
        x = F.pixel_unshuffle(xt.to(dtype), self.config.patch)
        x = self.inward(x.contiguous(memory_format=torch.channels_last))
        kept: list[Tensor] = []
        for i, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, vector, words)
                kept.append(x)
            if i < len(self.shrink):
                x = self.shrink[i](F.pixel_unshuffle(x, 2))
        for i in reversed(range(len(self.up))):
            if i < len(self.grow):
                x = F.pixel_shuffle(self.grow[i](x), 2)
            for block in self.up[i]:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], dim=1), vector, words)
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.config.patch)
