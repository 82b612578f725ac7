"""The network of PixelCNN++: two streams of shifted convolutions, the rows above and the pixels to the left.

Source: Salimans et al. 2017 (PixelCNN++), section 2 and the published code.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.conv import Conv
from unstir.nn.gated_block import BlockCache, GatedBlock, concat_elu
from unstir.nn.shifted_conv import CausalMap, Drop, ShiftedConv, full_precision, new_picture, with_ones


class Walk(Protocol):
    """How a stream is computed: on whole pictures, or only where a pixel was just drawn."""

    def block(self, block: GatedBlock, scale: int, x: Tensor, extra: Tensor | None) -> Tensor: ...

    def shrink(self, conv: ShiftedConv, scale: int, x: Tensor) -> Tensor | None:
        """From this scale to the next one; None where there is nothing new."""
        ...

    def grow(self, conv: Conv, scale: int, x: Tensor | None) -> Tensor:
        """From the next scale to this one. x: what is new there, or None."""
        ...


Activations = dict[tuple[str, int, int], Tensor]
"""Output of each block of a stream by pass ("in" or "out"), scale and number."""


class Stream(nn.Module):
    """Blocks from fine to coarse and back, with skip connections from each activation on the way in.

    width, words, rows, columns: as of `GatedBlock`.
    scales: each has half the side of the one before.
    blocks: of a scale on the way in.
    above: whether it gets the activations of the stream of the rows above.
    """

    def __init__(
        self,
        width: int,
        words: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
        scales: int,
        blocks: int,
        above: bool,
    ) -> None:
        super().__init__()

        def layers(count: int, extra: int) -> nn.ModuleList:
            return nn.ModuleList(GatedBlock(width, words, rows, columns, extra) for _ in range(count))

        extra = width if above else 0
        self.inward = nn.ModuleList(layers(blocks, extra) for _ in range(scales))
        self.outward = nn.ModuleList(layers(blocks + (s < scales - 1), extra + width) for s in range(scales))
        self.shrink = nn.ModuleList(ShiftedConv(width, width, rows, columns, step=2) for _ in range(scales - 1))
        self.grow = nn.ModuleList(Conv(width, 4 * width, 1) for _ in range(scales - 1))

    def forward(self, x: Tensor, walk: Walk, above: Activations | None = None) -> tuple[Tensor, Activations]:
        """The output at the finest scale, and what all blocks gave. above: of the other stream, in the same walk."""
        given: Activations = {}
        kept: list[list[Tensor]] = []
        new: Tensor | None = x
        for scale, blocks in enumerate(self.inward):
            if scale:
                new = walk.shrink(self.shrink[scale - 1], scale - 1, kept[-1][-1])  # type: ignore[arg-type]
            if new is None:
                break
            kept.append([new])
            for i, block in enumerate(blocks):  # type: ignore[arg-type, var-annotated]
                at = ("in", scale, i)
                new = given[at] = walk.block(block, scale, new, None if above is None else above[at])
                kept[-1].append(new)
        new = None
        for scale in reversed(range(len(kept))):
            coarsest = scale == len(self.inward) - 1
            new = kept[scale].pop() if coarsest else walk.grow(self.grow[scale], scale, new)  # type: ignore[arg-type]
            for i, block in enumerate(self.outward[scale]):  # type: ignore[arg-type]
                at, skip = ("out", scale, i), kept[scale].pop()
                extra = skip if above is None else torch.cat([above[at], skip], dim=1)
                new = given[at] = walk.block(block, scale, new, extra)
        assert new is not None
        return new, given


class _Whole:
    """A walk over whole pictures."""

    def __init__(self, vector: Tensor, drop: Drop | None) -> None:
        self.vector, self.drop = vector, drop

    def block(self, block: GatedBlock, scale: int, x: Tensor, extra: Tensor | None) -> Tensor:  # noqa: ARG002
        b, width, h, w = x.shape
        mask = None if self.drop is None else self.drop((b, 2 * width, h, w), x.dtype)
        out: Tensor = block(x, block.gates_of(self.vector), extra, mask)
        return out

    def shrink(self, conv: ShiftedConv, scale: int, x: Tensor) -> Tensor | None:  # noqa: ARG002
        out: Tensor = conv(x)
        return out

    def grow(self, conv: Conv, scale: int, x: Tensor | None) -> Tensor:  # noqa: ARG002
        assert x is not None
        return F.pixel_shuffle(conv(x), 2)


class PixelCnnNetwork(nn.Module):
    """Pictures (B, C, S, S), text -> (B, S, S, outside); the output at a pixel depends on the pixels before it only.

    size: S.  channels: C.  outside: numbers for each pixel.
    width: of the feature maps.
    scales, blocks: as of `Stream`.
    words: width of the vector of the text.
    """

    def __init__(
        self, size: int, channels: int, outside: int, width: int, scales: int, blocks: int, words: int
    ) -> None:
        super().__init__()
        self.size, self.channels, self.width, self.scales = size, channels, width, scales
        inside = channels + 1
        self.above = ShiftedConv(inside, width, (-2, -1), (-1, 1))
        self.row_above = ShiftedConv(inside, width, (-1, -1), (-1, 1))
        self.left = ShiftedConv(inside, width, (-1, 0), (-1, -1))
        self.position = nn.Parameter(torch.zeros(2 * width, size, size))
        self.upper = Stream(width, words, (-1, 0), (-1, 1), scales, blocks, above=False)
        self.lower = Stream(width, words, (-1, 0), (-1, 0), scales, blocks, above=True)
        self.out = nn.Linear(2 * width, outside)

    def forward(self, x: Tensor, vector: Tensor, drop: Drop | None = None) -> Tensor:
        """The numbers of every pixel.

        x: in [-1, 1].
        vector: (B, words).
        drop: makes the dropout masks, or None.
        """
        x = with_ones(x.to(self.out.weight.dtype)).contiguous(memory_format=torch.channels_last)
        walk = _Whole(vector.to(self.out.weight.dtype), drop)
        first, second = self.position.to(x.dtype).chunk(2)
        _, above = self.upper(self.above(x) + first, walk)
        out, _ = self.lower(self.row_above(x) + self.left(x) + second, walk, above)
        return full_precision(self.out, concat_elu(out).permute(0, 2, 3, 1))

    def cache(self, vector: Tensor) -> "PixelCnnCache":
        """For drawing pixel by pixel. vector: (B, words)."""
        return PixelCnnCache(self, vector.to(self.out.weight.dtype))


class PixelCnnCache:
    """A `PixelCache`: a row of the upper stream is computed when it begins, of the lower one a pixel at a time.

    Source: Ramachandran et al. 2017, section 3.
    """

    def __init__(self, network: PixelCnnNetwork, vector: Tensor) -> None:
        self.network = network
        like, count = network.out.weight, len(vector)
        self._picture = new_picture(count, network.channels, network.size, like)
        self.blocks: dict[nn.Module, BlockCache] = {}
        self.maps: dict[nn.Module, CausalMap] = {}
        for stream in (network.upper, network.lower):
            for scale in range(network.scales):
                side = network.size >> scale
                for block in (*stream.inward[scale], *stream.outward[scale]):  # type: ignore[misc]
                    self.blocks[block] = block.cache(vector, side)
                if scale:
                    shrink, grow = stream.shrink[scale - 1], stream.grow[scale - 1]
                    self.maps[shrink] = CausalMap(count, network.width, 2 * side, like)
                    self.maps[grow] = CausalMap(count, network.width, side, like)
        self._above: Activations = {}

    def write(self, row: int, column: int, values: Tensor) -> None:
        known = with_ones(values.to(self.network.out.weight.dtype)[:, :, None, None])
        self._picture.write(row, column, known)

    def numbers(self, row: int, column: int) -> Tensor:
        network, seen = self.network, self._picture
        first, second = network.position.chunk(2)
        if column == 0:
            x = network.above.at(seen, row, 0, network.size) + first[:, row : row + 1]
            _, self._above = network.upper(x, _Step(self, row, None))
        x = network.row_above.at(seen, row, column, column + 1) + network.left.at(seen, row, column, column + 1)
        x = x + second[:, row : row + 1, column : column + 1]
        walk = _Step(self, row, column)
        above = {at: walk.part(value, at[1]) for at, value in self._above.items() if walk.reaches(at[1])}
        out, _ = network.lower(x, walk, above)
        return full_precision(network.out, concat_elu(out)[:, :, 0, 0])


class _Step:
    """A walk over what is new: one row, or with a column one pixel."""

    def __init__(self, cache: PixelCnnCache, row: int, column: int | None) -> None:
        self.cache, self.row, self.column = cache, row, column

    def reaches(self, scale: int) -> bool:
        """Coarse positions are computed at the first of the pixels that lie in them."""
        step = 1 << scale
        return self.row % step == 0 and (self.column or 0) % step == 0

    def columns(self, scale: int) -> tuple[int, int]:
        """The first column of this scale, and the one after the last."""
        if self.column is None:
            return 0, self.cache.network.size >> scale
        return self.column >> scale, (self.column >> scale) + 1

    def part(self, row: Tensor, scale: int) -> Tensor:
        """The columns of this walk in a whole row, (B, C, 1, n)."""
        start, stop = self.columns(scale)
        return row[..., start:stop]

    def block(self, block: GatedBlock, scale: int, x: Tensor, extra: Tensor | None) -> Tensor:
        return block.advance(self.cache.blocks[block], self.row >> scale, self.columns(scale)[0], x, extra)

    def shrink(self, conv: ShiftedConv, scale: int, x: Tensor) -> Tensor | None:
        seen = self.cache.maps[conv]
        seen.write(self.row >> scale, self.columns(scale)[0], x)
        if not self.reaches(scale + 1):
            return None
        return conv.at(seen, self.row >> scale + 1, *self.columns(scale + 1))

    def grow(self, conv: Conv, scale: int, x: Tensor | None) -> Tensor:
        coarse = self.cache.maps[conv]
        row, (start, stop) = self.row >> scale + 1, self.columns(scale + 1)
        if x is not None:
            coarse.write(row, start, x)
        grown = F.pixel_shuffle(conv(coarse.window((row, row), (start, stop - 1))), 2)
        parity = (self.row >> scale) % 2
        first, last = self.columns(scale)
        return grown[:, :, parity : parity + 1, first - 2 * start : last - 2 * start]
