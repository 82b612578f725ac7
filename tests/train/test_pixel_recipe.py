"""The automatic recipes of PixelCNN and PixelRNN: the grid of levels is that of the data."""

import numpy as np
import pytest

from experiments.pixel_bits import bits_of_histograms, grey_levels
from unstir.data.digits import digit_pictures
from unstir.data.pictures import Pictures
from unstir.data.shapes import shape_pictures
from unstir.train.auto_pixel_recipe import pixel_values, pixelcnn_recipe, pixelrnn_recipe
from unstir.train.new_run import new_model


def pictures_of(pixels):
    count = len(pixels)
    return Pictures(pixels, [("a",)] * count, [str(i) for i in range(count)], [{}] * count)


def test_levels_and_channels_are_found_in_the_data():
    digits = digit_pictures()
    assert pixel_values(digits) == (17, True)
    coloured = digits.pixels.copy()
    coloured[-1, 0, 0] = (0, 0, 255)
    assert pixel_values(pictures_of(coloured)) == (17, False)
    transparent = np.concatenate([digits.pixels, np.full_like(digits.pixels[..., :1], 255)], -1)
    assert pixel_values(pictures_of(transparent)) == (17, False)
    assert pixel_values(shape_pictures(4, 16)).levels == 256


@pytest.mark.parametrize("recipe", [pixelcnn_recipe, pixelrnn_recipe])
def test_recipes_fit_their_pictures(recipe):
    digits = digit_pictures()
    chosen = recipe(digits, "s")
    assert (chosen.model.levels, chosen.model.grey, chosen.model.modelled) == (17, True, 1)
    assert chosen.train.best == "least validation"
    model = new_model(chosen, digits)
    numbers = sum(p.numel() for p in model.parameters())
    assert 100_000 < numbers < 2_000_000
    shapes = shape_pictures(4, 64)
    transparent = np.concatenate([shapes.pixels, shapes.pixels[..., :1]], -1)
    large = recipe(pictures_of(transparent), "m").model
    assert (large.levels, large.grey, large.modelled, large.size) == (256, False, 4, 64)


def test_more_scales_and_cheaper_lstms_for_larger_pictures():
    shapes = {side: shape_pictures(2, side) for side in (16, 24, 32, 64)}
    assert [pixelcnn_recipe(shapes[side], "s").model.scales for side in shapes] == [1, 2, 3, 3]
    assert [pixelrnn_recipe(shapes[side], "s").model.lstm for side in shapes] == ["diagonal", "row", "row", "row"]


def test_independent_pixels():
    train = np.array([[0, 1], [0, 2], [0, 1]])
    bits = bits_of_histograms(train, np.array([[0, 1], [5, 5]]))
    assert bits[0] == pytest.approx(-(np.log2(4 / 20) + np.log2(3 / 20)) / 2)
    assert bits[1] == pytest.approx(np.log2(20))
    assert grey_levels(np.full((1, 2, 2, 3), 255, np.uint8)).tolist() == [[16] * 4]
