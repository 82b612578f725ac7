import sys

import numpy as np
import pytest

from unstir.data.built_in import open_data
from unstir.data.digits import digit_captions, digit_pictures
from unstir.data.pictures import Pictures
from unstir.data.sources import Source
from unstir.errors import UserError

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def test_parts_are_disjoint_complete_and_fixed():
    train, test, whole = digit_pictures(part="train"), digit_pictures(part="test"), digit_pictures(part="all")
    assert (len(train), len(test), len(whole)) == (1438, 359, 1797)
    assert sorted(train.keys + test.keys) == whole.keys
    counts = np.bincount([int(meta["digit"]) for meta in test.meta], minlength=10)
    assert counts.min() >= 20
    assert test.keys[:6] == FROZEN


FROZEN = ["digits/0008", "digits/0019", "digits/0021", "digits/0029", "digits/0044", "digits/0049"]


def test_native_pixels_and_labels():
    images, labels = sklearn_datasets.load_digits(return_X_y=True)
    whole = digit_pictures(part="all")
    assert whole.pixels.shape == (1797, 8, 8, 3)
    assert np.array_equal(whole.pixels[..., 0], np.rint(images.reshape(-1, 8, 8) * 255 / 16))
    assert np.array_equal(whole.pixels[..., 0], whole.pixels[..., 2])
    assert [meta["digit"] for meta in whole.meta] == labels.tolist()
    assert whole.pixels.min() == 0
    assert whole.pixels.max() == 255


def test_other_sizes_are_the_same_digits():
    small, large = digit_pictures(8, "test"), digit_pictures(16, "test")
    assert large.pixels.shape == (359, 16, 16, 3)
    means = large.pixels.reshape(359, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    assert np.abs(means - small.pixels).mean() < 12
    assert large.captions == small.captions


def test_captions():
    assert digit_captions(7) == ("a handwritten seven", "a handwritten 7", "the digit seven", "the digit 7", "a seven")
    assert digit_captions(8)[-1] == "an eight"
    pictures = digit_pictures()
    assert all(
        words == digit_captions(int(meta["digit"]))
        for words, meta in zip(pictures.captions, pictures.meta, strict=True)
    )


def test_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"install `unstir\[digits\]`"):
        digit_pictures()


def test_nonsense():
    with pytest.raises(ValueError, match="parts"):
        digit_pictures(part="validation")
    with pytest.raises(ValueError, match="sizes"):
        digit_pictures(size=0)


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built_in = open_data("digits")
    assert isinstance(built_in, Pictures)
    assert built_in.sha256() == digit_pictures().sha256()
    assert len(open_data("digits", held_out=True)) == 359
    drawn = open_data("shapes", size=33, count=5, seed=2)
    assert drawn.pixels.shape == (5, 33, 33, 3)
    with pytest.raises(UserError, match="no folder"):
        open_data("pictures")
    (tmp_path / "digits").mkdir()
    with pytest.raises(UserError, match="no pictures"):  # what is on disk goes first
        open_data("digits")
    for name in ("x.png", "x.txt"):
        (tmp_path / "digits" / name).write_text("x")
    assert isinstance(open_data("digits"), Source)
