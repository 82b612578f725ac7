"""The gated residual block of PixelCNN++, for whole pictures and for one row or pixel."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.conv import Conv
from unstir.nn.init import init_zero
from unstir.nn.shifted_conv import CausalMap, ShiftedConv


def concat_elu(x: Tensor) -> Tensor:
    """elu of x and of -x as channels. x: (B, C, h, w).  Returns (B, 2C, h, w). Source: Shang et al. 2016 (CReLU)."""
    return F.elu(torch.cat([x, -x], dim=1))


class BlockCache(NamedTuple):
    """What is known while drawing: the inputs of the two convolutions, and (B, 2·width, 1, 1) of the text."""

    first: CausalMap
    second: CausalMap
    gates: Tensor


class GatedBlock(nn.Module):
    """A residual block: concat-ELU, conv, concat-ELU, conv to twice the width, and a·sigmoid(b) of its halves.

    The text is added before the gate; a second input enters between the convolutions.
    width: channels.
    words: width of the vector of the text.
    rows, columns: of the windows (`ShiftedConv`).
    extra: channels of the second input, 0: there is none.
    """

    hidden_matrices = True

    def __init__(self, width: int, words: int, rows: tuple[int, int], columns: tuple[int, int], extra: int = 0) -> None:
        super().__init__()
        self.conv1 = ShiftedConv(2 * width, width, rows, columns)
        self.extra = Conv(2 * extra, width, 1) if extra else None
        self.conv2 = ShiftedConv(2 * width, 2 * width, rows, columns)
        self.words = nn.Linear(words, 2 * width)
        init_zero(self.words)

    def forward(self, x: Tensor, gates: Tensor, extra: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Apply the block.

        x: (B, width, h, w).
        gates: (B, 2·width, 1, 1), from `gates_of`.
        extra: (B, extra, h, w), the second input.
        mask: (B, 2·width, h, w), dropout between the convolutions.
        """
        h = concat_elu(self._joined(self.conv1(concat_elu(x)), extra))
        return self._gated(x, self.conv2(h if mask is None else h * mask), gates)

    def gates_of(self, vector: Tensor) -> Tensor:
        """What a text adds before the gate. vector: (B, words)."""
        out: Tensor = self.words(vector)[:, :, None, None]
        return out

    def cache(self, vector: Tensor, side: int) -> BlockCache:
        """An empty cache for drawing. side: of the feature map."""
        twice = self.conv2.weight.shape[0]
        first, second = (CausalMap(len(vector), twice, side, self.conv1.weight) for _ in range(2))
        return BlockCache(first, second, self.gates_of(vector))

    def advance(self, cache: BlockCache, row: int, start: int, x: Tensor, extra: Tensor | None) -> Tensor:
        """The block in one row, at the columns from `start` on. x: (B, width, 1, n).  extra: (B, extra, 1, n)."""
        stop = start + x.shape[-1]
        cache.first.write(row, start, concat_elu(x))
        cache.second.write(row, start, concat_elu(self._joined(self.conv1.at(cache.first, row, start, stop), extra)))
        return self._gated(x, self.conv2.at(cache.second, row, start, stop), cache.gates)

    def _joined(self, h: Tensor, extra: Tensor | None) -> Tensor:
        return h if self.extra is None or extra is None else h + self.extra(concat_elu(extra))

    def _gated(self, x: Tensor, h: Tensor, gates: Tensor) -> Tensor:
        a, b = (h + gates).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)
