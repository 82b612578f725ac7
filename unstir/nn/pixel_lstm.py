"""The layers of PixelRNN: LSTMs that sweep a feature map row by row, or along its diagonals from both sides.

Feature maps have their channels last here, as matrix products want them.
Source: van den Oord et al. 2016 (PixelRNN), section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.init import init_constant, init_zero

STATE_REACH = 1
"""Positions of the row above on either side that a Row LSTM sees, a convolution of 3."""

FORGET = 1.0
"""Added to the forget gate, so that a new LSTM remembers. Source: Gers et al. 2000; Jozefowicz et al. 2015."""


def skew(x: Tensor) -> Tensor:
    """Shift row i to the right by i, so that diagonals become columns; zeros fill the gaps.

    x: (B, H, W, C).
    Returns (B, H, H + W - 1, C).
    """
    b, height, width, channels = x.shape
    padded = F.pad(x, (0, 0, 0, height)).flatten(1, 2)
    # Rows longer by H that are read as longer by H - 1: every row moves one further to the right.
    return padded[:, : height * (height + width - 1)].view(b, height, height + width - 1, channels)


def unskew(x: Tensor) -> Tensor:
    """Undo `skew`. x: (B, H, H + W - 1, C).  Returns (B, H, W, C)."""
    b, height, long, channels = x.shape
    padded = F.pad(x.reshape(b, height * long, channels), (0, 0, 0, height))
    return padded.view(b, height, long + 1, channels)[:, :, : long + 1 - height]


def lstm(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM.

    gates: (..., 4h), of input, forget and output gate and of the new content, before their nonlinearities.
    memory: (..., h).
    Returns the state and the memory, (..., h) each.
    Source: Hochreiter and Schmidhuber 1997; van den Oord et al. 2016, eq. 3.
    """
    hidden = memory.shape[-1]
    opened, content = gates.split([3 * hidden, hidden], dim=-1)  # type: ignore[no-untyped-call]
    write, keep, show = torch.sigmoid(opened).chunk(3, dim=-1)
    memory = keep * memory + write * torch.tanh(content)
    return show * torch.tanh(memory), memory


class RowCache:
    """What a Row LSTM keeps while drawing.

    text: (B, 4h), of the text.
    state, memory: (B, w, h), of the row above.
    pushed: (B, w, 4h), what the states of the row above give to the gates of this row.
    """

    def __init__(self, text: Tensor, width: int, hidden: int, inside: int) -> None:
        self.text = text
        self.state, self.memory = (text.new_zeros(len(text), width, hidden) for _ in range(2))
        self.pushed = text.new_zeros(len(text), width, 4 * hidden)
        self.row: list[tuple[Tensor, Tensor]] = []
        self.before = text.new_zeros(len(text), inside)


class RowLstm(nn.Module):
    """A layer whose state comes down from the row above: at each position from the three nearest there.

    It sees the triangle above a position, and in its row the position itself and its left neighbour.
    inside: channels of the feature map.  hidden: of the state.  words: width of the vector of the text.
    """

    hidden_matrices = True
    from_both_sides = False

    def __init__(self, inside: int, hidden: int, words: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Linear(2 * inside, 4 * hidden)
        self.state = nn.Linear((2 * STATE_REACH + 1) * hidden, 4 * hidden, bias=False)
        self.words = nn.Linear(words, 4 * hidden)
        init_zero(self.words)
        self.forget = nn.Parameter(torch.empty(hidden))
        init_constant(self, forget=FORGET)
        self.out = nn.Linear(hidden, inside)
        init_zero(self.out)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x: (B, h, w, inside).  vector: (B, words).  Returns as x."""
        b, _, width, _ = x.shape
        before = F.pad(x, (0, 0, 1, -1))
        given = self.input(torch.cat([before, x], -1)) + self._text(vector)[:, None, None]
        state = memory = given.new_zeros(b, width, self.hidden)
        states = []
        for row in given.unbind(1):
            state, memory = lstm(row + self._push(state), memory)
            states.append(state)
        out: Tensor = x + self.out(torch.stack(states, 1))
        return out

    def _text(self, vector: Tensor) -> Tensor:
        out: Tensor = self.words(vector) + F.pad(self.forget, (self.hidden, 2 * self.hidden))
        return out

    def _push(self, state: Tensor) -> Tensor:
        """What a row of states gives to the gates of the row below. state: (B, w, h).  Returns (B, w, 4h)."""
        width = state.shape[1]
        wide = F.pad(state, (0, 0, STATE_REACH, STATE_REACH))
        near = [wide[:, shift : shift + width] for shift in range(2 * STATE_REACH + 1)]
        out: Tensor = self.state(torch.cat(near, -1))
        return out

    def cache(self, vector: Tensor, width: int) -> RowCache:
        """An empty cache for drawing. width: of the feature map."""
        return RowCache(self._text(vector), width, self.hidden, self.out.out_features)

    def advance(self, cache: RowCache, row: int, column: int, x: Tensor) -> Tensor:
        """The output at a position. x: (B, inside), the input there.  Returns as x."""
        if column == 0:
            if row:
                cache.state, cache.memory = (torch.stack(one, 1) for one in zip(*cache.row, strict=True))
                cache.pushed = self._push(cache.state)
            cache.row, cache.before = [], torch.zeros_like(x)
        gates = self.input(torch.cat([cache.before, x], -1)) + cache.text + cache.pushed[:, column]
        state, memory = lstm(gates, cache.memory[:, column])
        cache.row.append((state, memory))
        cache.before = x
        out: Tensor = x + self.out(state)
        return out


class DiagonalCache:
    """What a diagonal layer keeps while drawing.

    text: (B, 8h), of the text.
    left, right: (B, w, h), states from the left and from the right, of the row above.
    state, memory: (B, h), from the left, of the position before.
    given: for each position of this row what its input gives to the gates from the right, (B, 4h).
    row: for each position of this row its state from the left.
    """

    def __init__(self, text: Tensor, width: int, hidden: int) -> None:
        self.text = text
        self.left, self.right = (text.new_zeros(len(text), width, hidden) for _ in range(2))
        self.state = self.memory = text.new_zeros(len(text), hidden)
        self.given: list[Tensor] = []
        self.row: list[Tensor] = []


class DiagonalBiLstm(nn.Module):
    """A layer whose states come along the diagonals, from the upper left and from the upper right.

    A state comes from the one beside it and the one above it. What comes from the right is used a row further down:
    in its own row it has seen pixels that are not drawn yet. Together they see all pixels before a position, and it.
    inside: channels of the feature map.  hidden: of each state.  words: width of the vector of the text.
    """

    hidden_matrices = True
    from_both_sides = True

    def __init__(self, inside: int, hidden: int, words: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Linear(inside, 8 * hidden)
        self.from_left = nn.Linear(2 * hidden, 4 * hidden, bias=False)
        self.from_right = nn.Linear(2 * hidden, 4 * hidden, bias=False)
        self.words = nn.Linear(words, 8 * hidden)
        init_zero(self.words)
        self.forget = nn.Parameter(torch.empty(2, hidden))
        init_constant(self, forget=FORGET)
        self.out = nn.Linear(hidden, inside)
        init_zero(self.out)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x: (B, h, w, inside).  vector: (B, words).  Returns as x."""
        b, height, _, _ = x.shape
        given = self.input(x) + self._text(vector)[:, None, None]
        left, right = given.chunk(2, -1)
        # Both directions at once, (diagonals, 2, B, height, 4h): rows of the map become rows of a matrix.
        both = skew(torch.cat([left, right.flip(2)]))
        both = both.view(2, b, height, -1, both.shape[-1]).permute(3, 0, 1, 2, 4)
        weight = torch.stack([self.from_left.weight, self.from_right.weight]).mT.to(given.dtype)
        state = memory = given.new_zeros(2, b, height, self.hidden)
        states = []
        for diagonal in both.contiguous().unbind():
            above = F.pad(state, (0, 0, 1, -1))
            near = torch.cat([state, above], -1).flatten(1, 2)
            gates = torch.baddbmm(diagonal.flatten(1, 2), near, weight).view(2, b, height, -1)
            state, memory = lstm(gates, memory)
            states.append(state)
        left, right = unskew(torch.stack(states, 3).flatten(0, 1)).chunk(2)
        out: Tensor = x + self.out(left + F.pad(right.flip(2), (0, 0, 0, 0, 1, -1)))
        return out

    def _text(self, vector: Tensor) -> Tensor:
        out: Tensor = self.words(vector) + F.pad(self.forget, (self.hidden, 2 * self.hidden)).flatten()
        return out

    def cache(self, vector: Tensor, width: int) -> DiagonalCache:
        """An empty cache for drawing. width: of the feature map."""
        return DiagonalCache(self._text(vector), width, self.hidden)

    def advance(self, cache: DiagonalCache, row: int, column: int, x: Tensor) -> Tensor:
        """The output at a position. x: (B, inside), the input there.  Returns as x."""
        if column == 0:
            if row:
                cache.left = torch.stack(cache.row, 1)
                cache.right = self._from_right(cache)
            cache.row, cache.given = [], []
            cache.state = cache.memory = torch.zeros_like(cache.state)
        left, right = (self.input(x) + cache.text).chunk(2, -1)
        cache.given.append(right)
        near = torch.cat([cache.state, cache.left[:, column]], -1)
        cache.state, cache.memory = lstm(left + self.from_left(near), cache.memory)
        cache.row.append(cache.state)
        out: Tensor = x + self.out(cache.state + cache.right[:, column])
        return out

    def _from_right(self, cache: DiagonalCache) -> Tensor:
        """The states from the right of the row that has just been finished."""
        state = memory = torch.zeros_like(cache.state)
        states = []
        for column in reversed(range(len(cache.given))):
            near = torch.cat([state, cache.right[:, column]], -1)
            state, memory = lstm(cache.given[column] + self.from_right(near), memory)
            states.append(state)
        return torch.stack(states[::-1], 1)
