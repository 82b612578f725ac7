"""The picture encoder of CLIP: a Vision Transformer into which published weights fit exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unstir.nn.dit import patches
from unstir.nn.pre_norm_block import PreNormBlock


@dataclass(frozen=True)
class VisionConfig:
    """Sizes and variants of a `VisionTransformer`.

    size: side of a picture in pixels, a multiple of `patch`.
    channels: of a picture.
    patch: side of a patch in pixels.
    width: of a token, divisible by heads.
    depth: number of blocks.
    heads: of the attention.
    mlp: hidden width of the MLP.
    activation: see `pre_norm_block.activation`.
    pool: "class", the vector is that of an additional class token; "mean", the mean over the patches.
    mean, std: of each channel in [0, 1], by which pictures are normalised first; empty: no normalisation.
    Raises ValueError when built with values that do not fit together.
    """

    size: int
    channels: int
    patch: int = 8
    width: int = 256
    depth: int = 6
    heads: int = 4
    mlp: int = 1024
    activation: str = "gelu"
    pool: str = "class"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of the patch, {self.patch}")
        if self.pool not in ("class", "mean"):
            raise ValueError(f"there is no pool {self.pool!r} for pictures; there are: class, mean")
        if not len(self.mean) == len(self.std) or len(self.mean) not in (0, self.channels):
            raise ValueError(f"mean and std have one number for each of {self.channels} channels, or none at all")


class VisionTransformer(nn.Module):
    """(B, C, S, S) in [-1, 1] -> (B, width), after a last layer norm, not of unit length.

    Source: Dosovitskiy et al. 2021 (ViT); Radford et al. 2021 (CLIP), section 2.4, for the norm before the blocks.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        count = (config.size // config.patch) ** 2
        self.embed = nn.Linear(config.channels * config.patch**2, config.width, bias=False)
        if config.pool == "class":
            self.class_token = nn.Parameter(torch.zeros(config.width))
            count += 1
        self.position = nn.Parameter(torch.zeros(count, config.width))
        self.norm_in = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            PreNormBlock(config.width, config.heads, config.mlp, config.activation) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        if config.mean:
            # On the CPU even while a network is built without memory ("meta"): these are constants, not weights.
            mean, std = (torch.tensor(part, device="cpu")[:, None, None] for part in (config.mean, config.std))
            self.register_buffer("centre", 2 * mean - 1, persistent=False)
            self.register_buffer("spread", 2 * std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, S, S) of the size and channels of `config`; ValueError for others.  Returns (B, width)."""
        x = self._tokens(x)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        if self.config.pool == "class":
            pooled: Tensor = self.norm(last(x, token=torch.zeros(len(x), dtype=torch.int64, device=x.device)))
        else:
            pooled = self.norm(last(x)).mean(1)
        return pooled

    def features(self, x: Tensor) -> list[Tensor]:
        """The tokens after each block, (B, N, width) each. x as in `forward`."""
        x = self._tokens(x)
        after = []
        for block in self.blocks:
            x = block(x)
            after.append(x)
        return after

    def _tokens(self, x: Tensor) -> Tensor:
        config = self.config
        if x.shape[1:] != (config.channels, config.size, config.size):
            wanted = (config.channels, config.size, config.size)
            raise ValueError(f"this encoder reads pictures of shape {wanted}, got {tuple(x.shape[1:])}")
        if config.mean:
            x = (x - self.centre) / self.spread
        x = self.embed(patches(x, config.patch).to(self.embed.weight.dtype))
        if config.pool == "class":
            x = torch.cat([self.class_token.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        tokens: Tensor = self.norm_in(x + self.position)
        return tokens
