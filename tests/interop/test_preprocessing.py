"""Preprocessing gives the very pixels that transformers gives."""

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from unstir.interop.preprocessing import Preprocessing, preprocess

SIZES = [(224, 224), (640, 480), (333, 500), (97, 131), (225, 224), (1200, 226), (7, 5)]


def noise(size, channels=3):
    width, height = size
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8))


def theirs(image, **settings):
    processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False, **settings)
    return np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter_", [3, 2])
def test_shorter_side_and_middle(size, filter_):
    expected = theirs(noise(size), size={"shortest_edge": 224}, crop_size=224, resample=filter_)
    assert np.array_equal(preprocess(noise(size), Preprocessing(224, 224, filter_)), expected)


def test_a_larger_side_and_the_whole_squashed():
    image = noise((640, 480))
    expected = theirs(image, size={"shortest_edge": 256}, crop_size=224)
    assert np.array_equal(preprocess(image, Preprocessing(224, 256)), expected)
    expected = theirs(image, size={"height": 224, "width": 224}, do_center_crop=False)
    assert np.array_equal(preprocess(image, Preprocessing(224)), expected)


def test_what_is_transparent_lies_on_white():
    pixels = np.zeros((50, 60, 4), np.uint8)
    pixels[:, 30:] = (200, 0, 0, 255)
    made = preprocess(Image.fromarray(pixels), Preprocessing(20, 20))
    assert made.shape == (20, 20, 3)
    assert (made[:, 1] == 255).all()
    assert (made[:, -2] == (200, 0, 0)).all()


def test_a_thin_strip_takes_no_gigabytes():
    image = Image.new("RGB", (1, 3_000_000), (10, 20, 30))
    assert (preprocess(image, Preprocessing(224, 224)) == (10, 20, 30)).all()


@pytest.mark.parametrize("values", [{"shorter": 100}, {"shorter": 100_000}, {"filter": 17}])
def test_invalid_settings(values):
    with pytest.raises(ValueError, match=r"cropped from|too large|filter"):
        Preprocessing(224, **values)
