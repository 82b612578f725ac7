"""A diffusion transformer on patches of pixels, conditioned on a noise level and on a text."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import rotation
from unstir.nn.embed import LevelEmbedding
from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm
from unstir.nn.text import TextEncoding
from unstir.nn.transformer import ModulatedBlock


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a `DiT`.

    size: side of a picture in pixels, a multiple of `patch`.
    channels: of a picture.
    patch: side of a patch in pixels.
    width: of a token, divisible by heads, and width/heads by 4.
    depth: number of blocks.
    heads: of the attention.
    bottleneck: width of the linear layer between pixels and tokens.
    words: width of the token vectors of the text.
    Raises ValueError when built with a size that is not a multiple of the patch.
    """

    size: int
    channels: int
    patch: int = 8
    width: int = 256
    depth: int = 8
    heads: int = 4
    bottleneck: int = 128
    words: int = 256

    def __post_init__(self) -> None:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of the patch, {self.patch}")


class DiT(nn.Module):
    """(B, C, S, S), level (B,), text -> (B, C, S, S).

    Large patches of pixels pass a narrow linear layer: pictures lie near a low-dimensional manifold, and a network that
    predicts the picture need not carry the noise.
    Source: Li and He 2025 (JiT); Peebles and Xie 2023 (DiT).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        side = config.size // config.patch
        pixels = config.channels * config.patch**2
        self.squeeze = nn.Linear(pixels, config.bottleneck, bias=False)
        self.embed = nn.Linear(config.bottleneck, config.width)
        self.position = nn.Parameter(torch.zeros(config.width, side, side))
        self.level = LevelEmbedding(config.width)
        self.pooled = nn.Linear(config.words, config.width)
        self.modulate = nn.Linear(config.width, 6 * config.width)
        init_zero(self.modulate)
        self.blocks = nn.ModuleList(
            ModulatedBlock(config.width, config.heads, config.words) for _ in range(config.depth)
        )
        self.norm = RMSNorm(config.width, gain=False)
        self.modulate_out = nn.Linear(config.width, 2 * config.width)
        init_zero(self.modulate_out)
        self.out = nn.Linear(config.width, pixels)
        init_zero(self.out)
        cos, sin = rotation(side, config.width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, xt: Tensor, level: Tensor, words: TextEncoding) -> Tensor:
        """Predict the picture, or what the model's prediction is.

        xt: (B, C, S, S) of about unit variance; S may differ from `config.size`.
        level: (B,), the log signal-to-noise ratio.
        words: the text.
        Returns as xt. Raises ValueError for pictures that are not square or whose side is no multiple of the patch.
        """
        patch, side = self.config.patch, xt.shape[-1] // self.config.patch
        if xt.shape[-1] % patch or xt.shape[-2] != xt.shape[-1]:
            raise ValueError(f"pictures must be square, their side a multiple of {patch}, got {tuple(xt.shape)}")
        x = self.embed(self.squeeze(patches(xt, patch).to(self.embed.weight.dtype)))
        x = x + self._positions(side).to(x.dtype)
        vector = F.silu(self.level(level) + self.pooled(words.pooled.to(x.dtype)))
        shared = self.modulate(vector).unflatten(-1, (6, -1))
        rotate = self._rotations(side, x.device)
        bias = words.attention_bias(side)
        for block in self.blocks:
            x = block(x, shared, words.tokens, bias, rotate)
        shift, scale = self.modulate_out(vector).unsqueeze(1).chunk(2, dim=-1)
        return unpatch(self.out(self.norm(x) * (1 + scale) + shift), patch, self.config.channels)

    def _positions(self, side: int) -> Tensor:
        position: Tensor = self.position
        if side != position.shape[-1]:
            position = F.interpolate(position[None].float(), size=(side, side), mode="bilinear", antialias=True)[0]
        return position.flatten(1).T

    def _rotations(self, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if side == self.config.size // self.config.patch:
            return self.cos, self.sin
        cos, sin = rotation(side, self.config.width // self.config.heads)
        return cos.to(device), sin.to(device)


def patches(x: Tensor, patch: int) -> Tensor:
    """Pictures as patches. x: (B, C, H, W), H and W multiples of `patch`.  Returns (B, H/p·W/p, C·p·p), row by row."""
    b, c, h, w = x.shape
    return (
        x.reshape(b, c, h // patch, patch, w // patch, patch)
        .permute(0, 2, 4, 1, 3, 5)
        .reshape(b, (h // patch) * (w // patch), c * patch * patch)
    )


def unpatch(x: Tensor, patch: int, channels: int) -> Tensor:
    """The inverse of `patches` for a square picture."""
    b, n, _ = x.shape
    side = int(n**0.5)
    return (
        x.reshape(b, side, side, channels, patch, patch)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(b, channels, side * patch, side * patch)
    )
