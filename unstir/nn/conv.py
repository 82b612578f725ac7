"""A convolution whose kernel is stored as a matrix."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Module):
    """`side`×`side` convolution with zero padding that keeps the picture's size.

    The kernel is one matrix, (out, in·side²), because an optimiser that works on matrices (Muon) needs it so.

    inside, outside: channels of the input and of the output.
    side: of the kernel, odd.
    """

    def __init__(self, inside: int, outside: int, side: int) -> None:
        super().__init__()
        self.inside, self.side = inside, side
        self.weight = nn.Parameter(torch.empty(outside, inside * side * side))
        self.bias = nn.Parameter(torch.zeros(outside))

    @property
    def kernel(self) -> Tensor:
        """The kernel as convolutions take it, (out, in, side, side)."""
        return self.weight.view(-1, self.inside, self.side, self.side)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in, h, w).  Returns (B, out, h, w)."""
        return F.conv2d(x, self.kernel, self.bias, padding=self.side // 2)
