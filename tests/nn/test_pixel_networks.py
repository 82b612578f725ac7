"""What pixels see: nothing at or after themselves, everything before, and the same when drawn one by one."""

import pytest
import torch

from unstir.nn.pixel_lstm import DiagonalBiLstm, RowLstm, lstm, skew, unskew
from unstir.nn.pixelcnn import PixelCnnNetwork
from unstir.nn.pixelrnn import PixelRnnNetwork
from unstir.nn.shifted_conv import MARGIN, CausalMap, ShiftedConv, new_picture

NETWORKS = {
    "one scale": lambda side: PixelCnnNetwork(side, 2, 7, 6, scales=1, blocks=2, words=5),
    "two scales": lambda side: PixelCnnNetwork(side, 2, 7, 6, scales=2, blocks=2, words=5),
    "three scales": lambda side: PixelCnnNetwork(side, 2, 7, 6, scales=3, blocks=2, words=5),
    "row": lambda side: PixelRnnNetwork(side, 2, 7, "row", 12, layers=3, words=5),
    "diagonal": lambda side: PixelRnnNetwork(side, 2, 7, "diagonal", 12, layers=2, words=5),
}


def random(module, seed=0, scale=0.3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.double().eval()


def normals(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen(function, x):
    """Which positions of x, (1, C, S, S), each position of function(x) depends on. Returns (S², S²) bool."""
    side = x.shape[-1]
    jacobian = torch.autograd.functional.jacobian(lambda x: function(x).square().sum(1).flatten(), x)
    return jacobian.view(side**2, -1, side**2).abs().sum(1) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_earlier_pixel_is_seen_and_no_other(name):
    network, vector = random(NETWORKS[name](8)), normals(1, 5)
    promised = torch.ones(64, 64, dtype=torch.bool).tril(-1)
    if name == "row":  # three pixels of the first convolution, and the triangles of three layers
        place = torch.arange(64)
        up, right = (place // 8)[:, None] - place // 8, place % 8 - (place % 8)[:, None]
        promised &= (right >= -3 - 3 - up) & (right <= 2 + up)
    found = seen(lambda x: network(x, vector).movedim(-1, 1), normals(1, 2, 8, 8))
    assert (found == promised).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_drawn_one_by_one_it_is_the_same(name):
    network, x, vector = random(NETWORKS[name](8), scale=0.2), normals(3, 2, 8, 8), normals(3, 5)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-3)):
        network = network.to(dtype)
        with torch.no_grad():
            whole, cache = network(x, vector), network.cache(vector)
            for row in range(8):
                for column in range(8):
                    assert torch.allclose(cache.numbers(row, column), whole[:, row, column], atol=tolerance)
                    cache.write(row, column, x[:, :, row, column])


def test_the_text_is_in_every_position():
    for make in NETWORKS.values():
        network, x = random(make(8)), normals(1, 2, 8, 8)
        with torch.no_grad():
            change = (network(x, normals(1, 5, seed=2)) - network(x, normals(1, 5, seed=3))).abs()
        assert (change.amax(-1) > 1e-6).all()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((-2, -1), (-1, 1)), ((-1, -1), (-1, 1)), ((-1, 0), (-1, -1)), ((-3, -1), (-3, 3)), ((0, 0), (-3, -1))],
)
def test_a_shifted_convolution_sees_its_window(rows, columns):
    conv = random(ShiftedConv(2, 3, rows, columns))
    x = normals(1, 2, 6, 6)
    found = seen(conv, x)
    place = torch.arange(36)
    down = place // 6 - (place // 6)[:, None]
    across = place % 6 - (place % 6)[:, None]
    window = (down >= rows[0]) & (down <= rows[1]) & (across >= columns[0]) & (across <= columns[1])
    assert (found == window).all()
    known = CausalMap(1, 2, 6, x)
    for row in range(6):
        known.write(row, 0, x[:, :, row : row + 1])
    with torch.no_grad():
        whole = conv(x)
        for row in range(6):
            assert torch.allclose(conv.at(known, row, 0, 6), whole[:, :, row : row + 1])
            assert torch.allclose(conv.at(known, row, 2, 3), whole[:, :, row : row + 1, 2:3])
    assert max(-rows[0], -columns[0], columns[1]) <= MARGIN


def test_an_empty_picture_knows_its_edges():
    picture = new_picture(2, 3, 4, torch.zeros(()))
    window = picture.window((-1, 3), (-1, 4))
    assert window[:, :3].abs().max() == 0
    assert window[:, 3].sum().item() == 2 * 16
    assert window[:, 3, 1:, 1:5].min() == 1


# The layers of LSTMs


def test_unskew_undoes_skew():
    for height, width in ((4, 4), (3, 5), (5, 2)):
        x = normals(2, height, width, 3)
        skewed = skew(x)
        assert skewed.shape == (2, height, height + width - 1, 3)
        assert (unskew(skewed) == x).all()
        for row in range(height):
            assert (skewed[:, row, row : row + width] == x[:, row]).all()
            assert skewed[:, row, :row].abs().sum() == skewed[:, row, row + width :].abs().sum() == 0


def layer_sees(layer, side=6):
    vector = normals(1, 5)
    return seen(lambda x: layer(x.permute(0, 2, 3, 1), vector).permute(0, 3, 1, 2), normals(1, 8, side, side))


def test_a_diagonal_layer_sees_all_that_is_before_and_itself():
    found = layer_sees(random(DiagonalBiLstm(8, 4, 5)))
    assert (found == torch.ones(36, 36, dtype=torch.bool).tril()).all()


def test_a_row_layer_sees_its_triangle():
    found = layer_sees(random(RowLstm(8, 4, 5)))
    place = torch.arange(36)
    up = (place // 6)[:, None] - place // 6
    right = place % 6 - (place % 6)[:, None]
    # Its row: itself and the left neighbour. Each row above: one more on both sides.
    triangle = (up >= 0) & (right >= -1 - up) & (right <= up)
    assert (found == triangle).all()


def naive_row(layer, x, vector):
    """Pixel by pixel, as the equations say."""
    side, hidden = x.shape[1], layer.hidden
    states, memories, out = {}, {}, torch.zeros_like(x)
    none, text = torch.zeros(len(x), hidden).double(), layer.words(vector)
    text = text + torch.cat([torch.zeros(hidden), layer.forget, torch.zeros(2 * hidden)])
    for i in range(side):
        for j in range(side):
            left = x[:, i, j - 1] if j else torch.zeros_like(x[:, 0, 0])
            above = torch.cat([states.get((i - 1, j + k), none) for k in (-1, 0, 1)], -1)
            gates = layer.input(torch.cat([left, x[:, i, j]], -1)) + text + layer.state(above)
            states[i, j], memories[i, j] = lstm(gates, memories.get((i - 1, j), none))
            out[:, i, j] = x[:, i, j] + layer.out(states[i, j])
    return out


def naive_diagonal(layer, x, vector):
    """Pixel by pixel, as the equations say."""
    side, hidden = x.shape[1], layer.hidden
    none, zeros = torch.zeros(len(x), hidden).double(), torch.zeros(hidden)
    forgets = [torch.cat([zeros, forget, zeros, zeros]) for forget in layer.forget]
    found = []
    for direction, weigh, order in ((-1, layer.from_left, range(side)), (1, layer.from_right, range(side)[::-1])):
        states, memories, half = {}, {}, 0 if direction == -1 else 1
        for i in range(side):
            for j in order:
                given = (layer.input(x[:, i, j]) + layer.words(vector)).chunk(2, -1)[half] + forgets[half]
                beside, above = states.get((i, j + direction), none), states.get((i - 1, j), none)
                gates = given + weigh(torch.cat([beside, above], -1))
                states[i, j], memories[i, j] = lstm(gates, memories.get((i, j + direction), none))
        found.append(states)
    out = torch.zeros_like(x)
    for i in range(side):
        for j in range(side):
            out[:, i, j] = x[:, i, j] + layer.out(found[0][i, j] + found[1].get((i - 1, j), none))
    return out


@pytest.mark.parametrize(("kind", "naive"), [(RowLstm, naive_row), (DiagonalBiLstm, naive_diagonal)])
def test_a_layer_is_what_a_loop_over_pixels_computes(kind, naive):
    layer = random(kind(6, 3, 5))
    x, vector = normals(2, 4, 4, 6).requires_grad_(), normals(2, 5)
    fast, slow = layer(x, vector), naive(layer, x, vector)
    assert torch.allclose(fast, slow, atol=1e-12)
    weights = normals(2, 4, 4, 6, seed=3)
    gradients = [torch.autograd.grad((one * weights).sum(), x)[0] for one in (fast, slow)]
    assert torch.allclose(*gradients, atol=1e-12)


def test_an_lstm_is_that_of_torch():
    cell = torch.nn.LSTMCell(3, 4).double()
    x, state, memory = normals(2, 3), normals(2, 4, seed=2), normals(2, 4, seed=3)
    gates = x @ cell.weight_ih.T + cell.bias_ih + state @ cell.weight_hh.T + cell.bias_hh
    i, f, content, o = gates.chunk(4, -1)  # torch has them in this order
    for ours, theirs in zip(lstm(torch.cat([i, f, o, content], -1), memory), cell(x, (state, memory)), strict=True):
        assert torch.allclose(ours, theirs)


def test_there_is_no_other_lstm():
    with pytest.raises(ValueError, match="there are: diagonal, row"):
        PixelRnnNetwork(4, 1, 3, "column", 4, 1, 5)
