"""The token vectors of a frozen text encoder as conditioning of a picture network."""

from dataclasses import dataclass

from torch import Tensor, nn

from unstir.nn.text import TextEncoding, padding
from unstir.nn.transformer import Block


@dataclass(frozen=True)
class FrozenTextConfig:
    """Sizes of a `FrozenTextAdapter`.

    features: width of the token vectors of the frozen encoder.
    width: of the token vectors that the picture networks get.
    depth: number of blocks on top of the frozen encoder; they are trained.
    """

    features: int
    width: int = 256
    depth: int = 1


class FrozenTextAdapter(nn.Module):
    """Token vectors of a frozen encoder -> `TextEncoding`."""

    def __init__(self, config: FrozenTextConfig) -> None:
        super().__init__()
        self.config = config
        self.norm_in = nn.LayerNorm(config.features)
        self.inward = nn.Linear(config.features, config.width)
        self.blocks = nn.ModuleList(Block(config.width, max(1, config.width // 64)) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, features: Tensor, real: Tensor) -> TextEncoding:
        """features: (B, L, features).  real: (B, L) bool, False for padding; every row has a token."""
        dtype = self.inward.weight.dtype
        x = self.inward(self.norm_in(features.to(dtype)))
        mask = padding(real, dtype)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        weight = real.to(x.dtype).unsqueeze(-1)
        return TextEncoding(x, mask, (x * weight).sum(1) / weight.sum(1))
