"""Where things lie: what patches hear, and how the reader's error is told."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstir.nn.init import initialise
from unstir.nn.layout import (
    BIAS_LIMIT,
    MARGIN,
    LayoutConfig,
    LayoutPredictor,
    layout_bias,
    layout_loss,
    predicted_layout,
)
from unstir.nn.text import TextEncoding

NAN = math.nan
LEFT, RIGHT, NONE = [0.25, 0.5, 0.5], [0.75, 0.5, 0.5], [NAN] * 3


def test_each_side_hears_its_own():
    bias = layout_bias(torch.tensor([[NONE, LEFT, RIGHT, NONE]]), 8)
    assert bias.shape == (1, 1, 64, 4)
    grid = bias[0, 0].reshape(8, 8, 4)  # rows, columns, tokens
    assert (grid[..., [0, 3]] == 0).all()
    assert (grid[:, :4, 1] == 0).all()
    assert (grid[:, 4:, 2] == 0).all()
    assert (grid[:, 0, 2] <= -BIAS_LIMIT * (1 - MARGIN - 0.2)).all()
    assert (grid[:, 7, 1] < grid[:, 4, 1]).all(), "the farther, the less"
    assert torch.equal(grid[..., 1], grid.flip(1)[..., 2])


def test_above_and_below():
    grid = layout_bias(torch.tensor([[[0.5, 0.25, 0.5], [0.5, 0.75, 0.5]]]), 4)[0, 0].reshape(4, 4, 2)
    assert (grid[:2, :, 0] == 0).all()
    assert (grid[0, :, 1] < -2).all()
    assert (grid[3, :, 0] < -2).all()


WHERE = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@given(st.lists(WHERE, min_size=1, max_size=5))
def test_at_every_patch_one_thing_is_heard_in_full(things):
    bias = layout_bias(torch.tensor([things]), 4)
    assert bias.isfinite().all()
    assert (bias.amax(-1) == 0).all()
    assert (bias >= -BIAS_LIMIT).all()


def test_without_two_things_nothing_changes():
    assert (layout_bias(torch.tensor([[NONE, NONE]]), 4) == 0).all()
    assert (layout_bias(torch.tensor([[NONE, LEFT]]), 4) == 0).all()
    near = [0.3, 0.5, 0.5]
    assert (layout_bias(torch.tensor([[near, LEFT, NONE]]), 4) == 0).all(), "two words of one thing differ a little"


def test_the_error_counts_names_and_places():
    where = torch.full((2, 4, 3), NAN)
    where[0, 1], where[0, 2] = torch.tensor([0.2, 0.5, 0.4]), torch.tensor([0.8, 0.5, 0.4])
    found = torch.zeros(2, 4, 4, requires_grad=True)
    loss = layout_loss(found, where)
    # Of the first picture two tokens count, of the second none; the mean is over both pictures.
    squares = (0.04 + 0.25 + 0.16 + 0.64 + 0.25 + 0.16) / 2 / 2
    assert loss.item() == pytest.approx(math.log(2) + squares)
    loss.backward()
    assert found.grad.isfinite().all()
    assert (found.grad[0, 1:3] != 0).all()
    assert found.grad[0, [0, 3], 1:].abs().sum() == found.grad[1, :, 1:].abs().sum() == 0
    known = torch.cat([torch.where(where[..., :1].isnan(), -30.0, 30.0), where.nan_to_num()], -1)
    assert layout_loss(known, where) < 1e-6
    assert torch.equal(predicted_layout(known).isnan(), where.isnan())


def test_words_take_their_places_along():
    def words(where):
        return TextEncoding(torch.randn(1, 2, 8), torch.zeros(1, 1, 1, 2), torch.randn(1, 8), where)

    told, untold = words(torch.tensor([[LEFT, NONE]])), words(None)
    assert untold.join(untold).where is None
    assert untold.repeat(3).where is None
    both = told.join(untold)
    assert both.where[0, 0].tolist() == LEFT
    assert both.where[1].isnan().all()
    assert both.one(1).where.shape == (1, 2, 3)
    assert both.one(0).repeat(3).where.shape == (3, 2, 3)
    assert told.repeat(3).where.shape == (3, 2, 3)
    assert told.to(torch.bfloat16).tokens.dtype == torch.bfloat16
    assert told.to(torch.bfloat16).where.dtype == torch.float32


def test_a_reader_learns_who_stands_left():
    """Ten words, two of them named around "left" or "right": what pictures do not teach is learned in a blink."""
    torch.manual_seed(0)
    reader = LayoutPredictor(LayoutConfig(width=32, depth=2, heads=2), 16, 3)
    initialise(reader, 0)
    table = torch.randn(12, 16)
    mask = torch.zeros(1, 1, 1, 3)

    def batch():
        ids = torch.stack([torch.randint(10, (64,)), torch.randint(10, 12, (64,)), torch.randint(10, (64,))], 1)
        x = torch.where(ids[:, 1:2] == 10, torch.tensor([0.25, NAN, 0.75]), torch.tensor([0.75, NAN, 0.25]))
        where = torch.stack([x, torch.full_like(x, 0.5), torch.full_like(x, 0.5)], -1)
        where[:, 1] = NAN
        return table[ids], where

    optimiser = torch.optim.AdamW(reader.parameters(), 3e-3)
    for _ in range(250):
        vectors, where = batch()
        optimiser.zero_grad()
        layout_loss(reader(vectors, mask), where).backward()
        optimiser.step()
    vectors, where = batch()
    found = predicted_layout(reader(vectors, mask))
    assert torch.equal(found.isnan(), where.isnan())
    assert torch.equal(found[:, [0, 2], 0] < 0.5, where[:, [0, 2], 0] < 0.5)
