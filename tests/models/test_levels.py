"""The grid of levels: exact both ways, found in the data, and a distribution over all pictures."""

import math

import pytest
import torch

from unstir.data.digits import digit_pictures
from unstir.models.levels import (
    ESCAPE,
    STORED,
    escape_nats,
    evenly_spaced_levels,
    level_pixels,
    level_values,
    stored_values,
    to_levels,
)


def counts_of(*values):
    return torch.bincount(torch.tensor(values), minlength=STORED)


@pytest.mark.parametrize("levels", [2, 3, 6, 17, 52, 200, 255, 256])
def test_every_level_survives_being_stored(levels):
    numbers = torch.arange(levels).view(1, 1, 1, -1)
    stored = stored_values(level_pixels(numbers.expand(1, 3, 1, -1), levels, 3))
    assert (to_levels(stored, levels, grey=False) == numbers).all()
    assert (stored[0, 0, 0] == level_values(levels)).all()
    assert to_levels(torch.tensor([[[[0, 255]]]]), levels, grey=True).flatten().tolist() == [0, levels - 1]


def test_digits_have_seventeen_levels_of_grey():
    pixels = torch.from_numpy(digit_pictures(part="all").pixels)
    stored = stored_values(pixels)
    assert evenly_spaced_levels(torch.bincount(stored.flatten(), minlength=STORED)) == 17
    numbers = to_levels(stored, 17, grey=True)
    assert numbers.shape == (1797, 1, 8, 8)
    assert numbers.unique().tolist() == list(range(17))
    assert (level_pixels(numbers, 17, 3) == pixels).all()


def test_the_smallest_grid_that_has_all_values():
    assert evenly_spaced_levels(counts_of(0, 255)) == 2
    assert evenly_spaced_levels(counts_of(0)) == 2
    assert evenly_spaced_levels(counts_of(0, 51, 255)) == 6
    assert evenly_spaced_levels(counts_of(0, 128, 255)) == 3
    assert evenly_spaced_levels(counts_of(0, 1, 255)) == 256
    assert evenly_spaced_levels(counts_of(*range(256))) == 256


def test_transparent_pictures_are_premultiplied():
    pixels = torch.tensor([200, 100, 0, 0, 200, 100, 0, 255, 200, 100, 0, 128], dtype=torch.uint8).view(1, 1, 3, 4)
    stored = stored_values(pixels)
    assert stored[0, :, 0].T.tolist() == [[0, 0, 0, 0], [200, 100, 0, 255], [100, 50, 0, 128]]
    back = level_pixels(to_levels(stored, 256, grey=False), 256, 4)
    assert back[0, 0, :2].tolist() == [[0, 0, 0, 0], [200, 100, 0, 255]]


def test_all_values_that_are_nearest_to_a_level_sum_to_one():
    stored = torch.arange(STORED)[:, None, None, None]
    for levels in (2, 17, 200):
        nearest = to_levels(stored, levels, grey=False).flatten()
        total = torch.zeros(levels, dtype=torch.float64).index_add(
            0, nearest, (-escape_nats(stored, levels, False)).exp()
        )
        assert torch.allclose(total, torch.ones(levels, dtype=torch.float64))
    assert escape_nats(stored, 256, grey=False).max() == 0


def test_a_colour_is_improbable_where_all_is_grey():
    grey, colour = torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])
    costs = escape_nats(torch.stack([grey, colour])[:, :, None, None], 17, grey=True).tolist()
    assert costs[0] == pytest.approx(ESCAPE, rel=1e-3)
    # Eight values are nearest to black, each with 256² pairs of the other channels.
    assert costs[1] == pytest.approx(-math.log(ESCAPE / (8 * 256**2 - 1)))
    assert math.exp(-costs[0]) + (8 * 256**2 - 1) * math.exp(-costs[1]) == pytest.approx(1)
