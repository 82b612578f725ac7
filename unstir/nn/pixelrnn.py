"""The network of PixelRNN: a masked convolution, layers of LSTMs, and two layers at each pixel.

Source: van den Oord et al. 2016 (PixelRNN), section 3 and table 1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.pixel_lstm import DiagonalBiLstm, RowLstm
from unstir.nn.shifted_conv import Drop, ShiftedConv, full_precision, new_picture, with_ones

REACH = 3
"""Pixels that the first convolution, 7×7, sees on either side."""

LSTMS: dict[str, type[RowLstm] | type[DiagonalBiLstm]] = {"diagonal": DiagonalBiLstm, "row": RowLstm}
"""The layers of a PixelRNN by name."""


class PixelRnnNetwork(nn.Module):
    """Pictures (B, C, S, S), text -> (B, S, S, outside); the output at a pixel depends on the pixels before it only.

    size: S.  channels: C.  outside: numbers for each pixel.
    kind: of the layers, one of LSTMS; ValueError for another.
    hidden: channels of a state; feature maps have twice as many.
    layers: of LSTMs.
    words: width of the vector of the text.
    """

    def __init__(self, size: int, channels: int, outside: int, kind: str, hidden: int, layers: int, words: int) -> None:
        super().__init__()
        if kind not in LSTMS:
            raise ValueError(f"there is no LSTM {kind!r}; there are: {', '.join(LSTMS)}")
        self.size, self.channels = size, channels
        width = 2 * hidden
        # A position knows the pixels before it, not its own; so what comes from the right would lack the last pixel of
        # a row. It starts from one column more, whose positions come after the last pixels.
        self.columns = size + LSTMS[kind].from_both_sides
        self.above = ShiftedConv(channels + 1, width, (-REACH, -1), (-REACH, REACH))
        self.left = ShiftedConv(channels + 1, width, (0, 0), (-REACH, -1))
        self.position = nn.Parameter(torch.zeros(width, size, self.columns))
        self.layers = nn.ModuleList(LSTMS[kind](width, hidden, words) for _ in range(layers))
        self.head = nn.Linear(width, width)
        self.out = nn.Linear(width, outside)

    def forward(self, x: Tensor, vector: Tensor, drop: Drop | None = None) -> Tensor:
        """The numbers of every pixel. Arguments as of `PixelCnnNetwork.forward`."""
        x = F.pad(with_ones(x.to(self.out.weight.dtype)), (0, self.columns - self.size))
        vector = vector.to(self.out.weight.dtype)
        maps = self.above(x) + self.left(x)
        x = (maps + self.position.to(maps.dtype)).permute(0, 2, 3, 1)
        b, height, width, channels = x.shape
        for layer in self.layers:
            if drop is not None:
                x = x * drop((b, channels, height, width), x.dtype).permute(0, 2, 3, 1)
            x = layer(x, vector)
        return self.numbers(x[:, :, : self.size])

    def numbers(self, x: Tensor) -> Tensor:
        """The layers after the LSTMs. x: (..., 2·hidden).  Returns (..., outside)."""
        return full_precision(self.out, F.relu(self.head(F.relu(x))))

    def cache(self, vector: Tensor) -> "PixelRnnCache":
        """For drawing pixel by pixel. vector: (B, words)."""
        return PixelRnnCache(self, vector.to(self.out.weight.dtype))


class PixelRnnCache:
    """A `PixelCache`: every layer keeps the states of the row above and of the pixels to the left."""

    def __init__(self, network: PixelRnnNetwork, vector: Tensor) -> None:
        self.network = network
        self._picture = new_picture(len(vector), network.channels, network.size, network.out.weight)
        self._caches: list[Any] = [layer.cache(vector, network.columns) for layer in network.layers]  # type: ignore[operator]

    def write(self, row: int, column: int, values: Tensor) -> None:
        self._picture.write(row, column, with_ones(values.to(self.network.out.weight.dtype)[:, :, None, None]))

    def numbers(self, row: int, column: int) -> Tensor:
        if row and column == 0:
            for beyond in range(self.network.size, self.network.columns):
                self._features(row - 1, beyond)
        return self.network.numbers(self._features(row, column))

    def _features(self, row: int, column: int) -> Tensor:
        """The output of the last LSTM at a position. Returns (B, 2·hidden)."""
        network, seen = self.network, self._picture
        maps = network.above.at(seen, row, column, column + 1) + network.left.at(seen, row, column, column + 1)
        x = maps[:, :, 0, 0] + network.position[:, row, column]
        for layer, cache in zip(network.layers, self._caches, strict=True):
            x = layer.advance(cache, row, column, x)  # type: ignore[operator]
        return x
