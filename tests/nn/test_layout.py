"""The layout of a caption: the attention bias from it, its loss, and that a small network learns to predict it."""

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


def test_each_half_attends_to_its_own_object():
    bias = layout_bias(torch.tensor([[NONE, LEFT, RIGHT, NONE]]), 8)
    assert bias.shape == (1, 1, 64, 4)
    grid = bias[0, 0].reshape(8, 8, 4)  # rows, columns, tokens
    assert (grid[..., [0, 3]] == 0).all()
    assert (grid[:, :4, 1] == 0).all()
    assert (grid[:, 4:, 2] == 0).all()
    assert (grid[:, 0, 2] <= -BIAS_LIMIT * (1 - MARGIN - 0.2)).all()
    assert (grid[:, 7, 1] < grid[:, 4, 1]).all(), "the farther, the lower"
    assert torch.equal(grid[..., 1], grid.flip(1)[..., 2])


def test_above_and_below():
    grid = layout_bias(torch.tensor([[[0.5, 0.25, 0.5], [0.5, 0.75, 0.5]]]), 4)[0, 0].reshape(4, 4, 2)
    assert (grid[:2, :, 0] == 0).all()
    assert (grid[0, :, 1] < -2).all()
    assert (grid[3, :, 0] < -2).all()


OBJECT = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@given(st.lists(OBJECT, min_size=1, max_size=5))
def test_at_every_patch_one_object_is_not_lowered(objects):
    bias = layout_bias(torch.tensor([objects]), 4)
    assert bias.isfinite().all()
    assert (bias.amax(-1) == 0).all()
    assert (bias >= -BIAS_LIMIT).all()


def test_without_two_objects_there_is_no_bias():
    assert (layout_bias(torch.tensor([[NONE, NONE]]), 4) == 0).all()
    assert (layout_bias(torch.tensor([[NONE, LEFT]]), 4) == 0).all()
    near = [0.3, 0.5, 0.5]
    assert (layout_bias(torch.tensor([[near, LEFT, NONE]]), 4) == 0).all(), "two tokens of one object differ a little"


def test_the_loss_counts_names_and_positions():
    layout = torch.full((2, 4, 3), NAN)
    layout[0, 1], layout[0, 2] = torch.tensor([0.2, 0.5, 0.4]), torch.tensor([0.8, 0.5, 0.4])
    predicted = torch.zeros(2, 4, 4, requires_grad=True)
    loss = layout_loss(predicted, layout)
    # Of the first picture two tokens count, of the second none; the mean is over both pictures.
    squares = (0.04 + 0.25 + 0.16 + 0.64 + 0.25 + 0.16) / 2 / 2
    assert loss.item() == pytest.approx(math.log(2) + squares)
    loss.backward()
    assert predicted.grad.isfinite().all()
    assert (predicted.grad[0, 1:3] != 0).all()
    assert predicted.grad[0, [0, 3], 1:].abs().sum() == predicted.grad[1, :, 1:].abs().sum() == 0
    exact = torch.cat([torch.where(layout[..., :1].isnan(), -30.0, 30.0), layout.nan_to_num()], -1)
    assert layout_loss(exact, layout) < 1e-6
    assert torch.equal(predicted_layout(exact).isnan(), layout.isnan())


def test_a_text_encoding_keeps_its_layout():
    def text(layout):
        return TextEncoding(torch.randn(1, 2, 8), torch.zeros(1, 1, 1, 2), torch.randn(1, 8), layout)

    with_layout, without = text(torch.tensor([[LEFT, NONE]])), text(None)
    assert without.join(without).layout is None
    assert without.repeat(3).layout is None
    both = with_layout.join(without)
    assert both.layout[0, 0].tolist() == LEFT
    assert both.layout[1].isnan().all()
    assert both.one(1).layout.shape == (1, 2, 3)
    assert both.one(0).repeat(3).layout.shape == (3, 2, 3)
    assert with_layout.repeat(3).layout.shape == (3, 2, 3)
    assert with_layout.to(torch.bfloat16).tokens.dtype == torch.bfloat16
    assert with_layout.to(torch.bfloat16).layout.dtype == torch.float32


def test_the_attention_bias_is_that_of_padding_and_of_the_layout():
    mask = torch.tensor([0.0, 0.0, -1e4])[None, None, None]
    layout = torch.tensor([[LEFT, RIGHT, NONE]])
    text = TextEncoding(torch.randn(1, 3, 8), mask, torch.randn(1, 8))
    assert text.attention_bias(4) is mask
    bias = text._replace(layout=layout).attention_bias(4)
    assert bias.shape == (1, 1, 16, 3)
    assert torch.equal(bias[..., 2], torch.full((1, 1, 16), -1e4))
    assert torch.equal(bias[..., :2], layout_bias(layout, 4)[..., :2])
    assert text._replace(layout=layout).to(torch.bfloat16).attention_bias(4).dtype == torch.bfloat16


def test_a_layout_predictor_learns_left_and_right():
    """Captions of two of ten names with "left" or "right" between them."""
    torch.manual_seed(0)
    predictor = LayoutPredictor(LayoutConfig(width=32, depth=2, heads=2), 16, 3)
    initialise(predictor, 0)
    table = torch.randn(12, 16)
    bias = torch.zeros(1, 1, 1, 3)

    def batch():
        ids = torch.stack([torch.randint(10, (64,)), torch.randint(10, 12, (64,)), torch.randint(10, (64,))], 1)
        x = torch.where(ids[:, 1:2] == 10, torch.tensor([0.25, NAN, 0.75]), torch.tensor([0.75, NAN, 0.25]))
        layout = torch.stack([x, torch.full_like(x, 0.5), torch.full_like(x, 0.5)], -1)
        layout[:, 1] = NAN
        return table[ids], layout

    optimiser = torch.optim.AdamW(predictor.parameters(), 3e-3)
    for _ in range(250):
        vectors, layout = batch()
        optimiser.zero_grad()
        layout_loss(predictor(vectors, bias), layout).backward()
        optimiser.step()
    vectors, layout = batch()
    predicted = predicted_layout(predictor(vectors, bias))
    assert torch.equal(predicted.isnan(), layout.isnan())
    assert torch.equal(predicted[:, [0, 2], 0] < 0.5, layout[:, [0, 2], 0] < 0.5)
