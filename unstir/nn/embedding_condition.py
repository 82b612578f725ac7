"""An embedding, such as CLIP's of a picture, as the conditioning of a picture network; and networks on embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.embed import LevelEmbedding
from unstir.nn.init import init_zero
from unstir.nn.norm import RMSNorm
from unstir.nn.text import TextEncoding, padding


@dataclass(frozen=True)
class EmbeddingConfig:
    """Sizes of an `EmbeddingTokens`.

    embedding: width of the embeddings.
    tokens: vectors that one embedding becomes.
    width: of each of them.
    """

    embedding: int
    tokens: int = 4
    width: int = 256


class EmbeddingTokens(nn.Module):
    """Embeddings (B, embedding) -> `TextEncoding`. A row of zeros, which no embedding is, stands for no conditioning.

    Source: Ramesh et al. 2022 (DALL-E 2), section 2.1: four tokens, and the embedding added to that of the time.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Linear(config.embedding, config.tokens * config.width)
        self.pooled = nn.Linear(config.embedding, config.width)
        self.null = nn.Parameter(torch.zeros(config.tokens + 1, config.width))

    def forward(self, z: Tensor) -> TextEncoding:
        """z: (B, embedding)."""
        config = self.config
        scaled = (z * config.embedding**0.5).to(self.tokens.weight.dtype)  # about unit variance for unit vectors
        tokens = self.tokens(scaled).unflatten(-1, (config.tokens, config.width))
        pooled = self.pooled(scaled)
        empty = (z == 0).all(1)[:, None]
        tokens = torch.where(empty[..., None], self.null[1:].to(tokens.dtype), tokens)
        pooled = torch.where(empty, self.null[0].to(pooled.dtype), pooled)
        real = torch.ones(len(z), config.tokens, dtype=torch.bool, device=z.device)
        return TextEncoding(tokens, padding(real, tokens.dtype), pooled)


class EmbeddingBlock(nn.Module):
    """norm, modulation by a vector, linear, silu, linear, and a skip connection."""

    hidden_matrices = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.modulate = nn.Linear(width, 2 * width)
        init_zero(self.modulate)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        init_zero(self.down)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x, vector: (B, width)."""
        scale, shift = self.modulate(vector).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(self.up(self.norm(x) * (1 + scale) + shift)))
        return out


class EmbeddingDenoiser(nn.Module):
    """Noisy embeddings, level, conditioning vectors -> embeddings.

    embedding: width of the embeddings.  given: width of the conditioning.  width, depth: of the network.
    """

    def __init__(self, embedding: int, given: int, width: int, depth: int) -> None:
        super().__init__()
        self.inward = nn.Linear(embedding, width)
        self.given = nn.Linear(given, width)
        self.level = LevelEmbedding(width)
        self.blocks = nn.ModuleList(EmbeddingBlock(width) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, embedding)
        init_zero(self.out)

    def forward(self, z: Tensor, level: Tensor, given: Tensor) -> Tensor:
        """z: (B, embedding) of about unit variance.  level: (B,), logsnr.  given: (B, given).  Returns as z."""
        dtype = self.inward.weight.dtype
        vector = F.silu(self.level(level) + self.given(given.to(dtype)))
        x = self.inward(z.to(dtype)) + vector
        for block in self.blocks:
            x = block(x, vector)
        out: Tensor = self.out(self.norm(x))
        return out
