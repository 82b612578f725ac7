"""Convolutions that see a window beside their position, and what is kept of them while a picture is drawn."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MARGIN = 4
"""Zeros kept around a `CausalMap`: no window reaches further, not even from a column beyond the edge."""


Drop = Callable[[tuple[int, int, int, int], torch.dtype], Tensor]
"""(Shape (B, C, h, w), dtype) of a feature map -> what to multiply it with, 0 where it is dropped."""


class PixelCache(Protocol):
    """A picture that is being drawn pixel by pixel, and the activations of what is drawn already."""

    def numbers(self, row: int, column: int) -> Tensor:
        """The network's output at a position, (B, outside), when all positions before it are written."""
        ...

    def write(self, row: int, column: int, values: Tensor) -> None:
        """The pixel at a position is known. values: (B, C)."""
        ...


class CausalMap:
    """A feature map that becomes known from top to bottom and from left to right, with zeros around it.

    batch, channels, side: of the map.
    like: a tensor of its device and dtype.
    """

    def __init__(self, batch: int, channels: int, side: int, like: Tensor) -> None:
        self.side = side
        wide = side + 2 * MARGIN
        self._data = torch.zeros(batch, channels, side + MARGIN, wide, device=like.device, dtype=like.dtype)

    def write(self, row: int, start: int, values: Tensor) -> None:
        """values: (B, C, 1, n), the columns from `start` on."""
        self._data[:, :, row + MARGIN, start + MARGIN : start + MARGIN + values.shape[-1]] = values[:, :, 0]

    def window(self, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """The positions from the first to the last of these rows and columns, both included; some may lie outside."""
        across = slice(columns[0] + MARGIN, columns[1] + MARGIN + 1)
        return self._data[:, :, rows[0] + MARGIN : rows[1] + MARGIN + 1, across]


class ShiftedConv(nn.Module):
    """A convolution whose output at (i, j) sees the input at (i + rows, j + columns) only; beyond the edges are zeros.

    With windows that end before the position, no masks are needed, and nothing is computed in vain.
    inside, outside: channels.
    rows, columns: the first and the last offset, both included; rows end at 0 or before.
    step: 2: at every second row and column only.
    Source: Salimans et al. 2017 (PixelCNN++), section 2.4 and figure 2.
    """

    def __init__(
        self, inside: int, outside: int, rows: tuple[int, int], columns: tuple[int, int], step: int = 1
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.step = rows, columns, step
        self.extent = (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1)
        self.weight = nn.Parameter(torch.empty(outside, inside * self.extent[0] * self.extent[1]))
        self.bias = nn.Parameter(torch.zeros(outside))

    @property
    def kernel(self) -> Tensor:
        """The kernel as convolutions take it, (out, in, height, width)."""
        return self.weight.view(len(self.weight), -1, *self.extent)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in, h, w).  Returns (B, out, h / step, w / step)."""
        x = F.pad(x, (-self.columns[0], self.columns[1], -self.rows[0], self.rows[1]))
        return F.conv2d(x, self.kernel, self.bias, stride=self.step)

    def at(self, seen: CausalMap, row: int, start: int, stop: int) -> Tensor:
        """The output in one row and the columns start … stop-1, in positions of the output. Returns (B, out, 1, n)."""
        first, last = start * self.step, (stop - 1) * self.step
        window = seen.window(
            (row * self.step + self.rows[0], row * self.step + self.rows[1]),
            (first + self.columns[0], last + self.columns[1]),
        )
        if stop - start == 1:
            return F.linear(window.flatten(1), self.weight, self.bias)[:, :, None, None]
        return F.conv2d(window, self.kernel, self.bias, stride=self.step)


def full_precision(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer in float32 at least, whatever the weights are stored in and whether there is autocast.

    The last layer says where a value lies, and bf16 could not tell neighbouring ones of 256 levels apart.
    """
    dtype = torch.promote_types(layer.weight.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))


def with_ones(x: Tensor) -> Tensor:
    """A channel of ones, by which padding is known. x: (B, C, h, w).  Returns (B, C + 1, h, w)."""
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def new_picture(batch: int, channels: int, side: int, like: Tensor) -> CausalMap:
    """Pictures of which no pixel is known; its last channel, of ones, is. like: of their device and dtype."""
    picture = CausalMap(batch, channels + 1, side, like)
    empty = torch.zeros(batch, channels, 1, side, device=like.device, dtype=like.dtype)
    for row in range(side):
        picture.write(row, 0, with_ones(empty))
    return picture
