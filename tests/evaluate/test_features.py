"""Vectors do not depend on what is kept, sizes and transparency are brought to what a CLIP reads."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unstir.errors import UserError
from unstir.evaluate.run import features
from unstir.evaluate.run.cache import ArrayCache
from unstir.evaluate.run.features import ClipFeatures, fit_to_clip, pixel_features, scaled_features
from unstir.models.pixels import resized, to_model


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)


def test_resized():
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert resized(x, 12) is x
    assert torch.equal(resized(x, 4), F.avg_pool2d(x, 3))
    flat = torch.full((1, 1, 12, 12), 0.3)
    for side in (5, 8, 11, 13, 24):
        assert resized(x, side).shape == (2, 3, side, side)
        assert resized(flat, side).allclose(torch.tensor(0.3))
    slope = torch.linspace(0, 1, 12).expand(1, 1, 12, 12)
    assert (resized(slope, 30).diff(dim=-1) >= 0).all()


def test_as_seen():
    opaque = to_model(torch.full((1, 4, 4, 3), 51, dtype=torch.uint8))
    assert fit_to_clip(opaque, (4, 4, 4))[0, :, 0, 0].tolist() == pytest.approx([-0.6, -0.6, -0.6, 1])
    half = torch.tensor([51, 51, 51, 128], dtype=torch.uint8).expand(1, 4, 4, 4)
    alpha = 128 / 255
    on_white = 2 * (0.2 * alpha + 1 - alpha) - 1
    assert fit_to_clip(to_model(half), (3, 2, 2)).shape == (1, 3, 2, 2)
    assert fit_to_clip(to_model(half), (3, 2, 2))[0, :, 0, 0].tolist() == pytest.approx([on_white] * 3)
    assert fit_to_clip(to_model(half), (4, 4, 4)).equal(to_model(half))


def test_vectors_are_those_of_the_clip(clip, pixels):
    clip_features = ClipFeatures(clip)
    got = clip_features.of_pictures(pixels)
    assert got.shape == (70, 16)
    assert np.linalg.norm(got, axis=1) == pytest.approx(np.ones(70), abs=1e-5)
    alone = clip.embed_pictures(fit_to_clip(to_model(torch.from_numpy(pixels[40:41])), clip.shape))
    assert got[40] == pytest.approx(alone[0].numpy(), abs=1e-5)
    words = clip_features.of_texts(["a red circle", "two blue squares"])
    assert words == pytest.approx(clip.embed_words(["a red circle", "two blue squares"]).numpy(), abs=1e-5)
    assert np.square(scaled_features(words)).mean() == pytest.approx(1)


def test_what_is_kept_is_not_computed_again(clip, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_CHUNK", 32)
    whole = ClipFeatures(clip, "a", ArrayCache(tmp_path)).of_pictures(pixels)
    words = ClipFeatures(clip, "a", ArrayCache(tmp_path)).of_texts(["a red circle"])
    assert len(list(tmp_path.iterdir())) == 4

    def never(*_):
        raise AssertionError("this was kept")

    with monkeypatch.context() as patch:
        patch.setattr(clip, "embed_pictures", never)
        patch.setattr(clip, "embed_ids", never)
        assert (ClipFeatures(clip, "a", ArrayCache(tmp_path)).of_pictures(pixels) == whole).all()
        assert (ClipFeatures(clip, "a", ArrayCache(tmp_path)).of_texts(["a red circle"]) == words).all()
        for other in (ClipFeatures(clip, "b", ArrayCache(tmp_path)), ClipFeatures(clip, "a")):
            with pytest.raises(AssertionError):
                other.of_pictures(pixels)
        with pytest.raises(AssertionError):
            ClipFeatures(clip, "a", ArrayCache(tmp_path)).of_pictures(pixels ^ 1)


def test_a_damaged_array_is_made_again(tmp_path):
    cache = ArrayCache(tmp_path / "new")
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (cache.get([b"a", b"b"], lambda: array) == array).all()
    [path] = (tmp_path / "new").iterdir()
    for content in (b"", path.read_bytes()[:-3], b"nonsense"):
        path.write_bytes(content)
        assert (cache.get([b"a", b"b"], lambda: array) == array).all()
        assert (cache.get([b"a", b"b"], lambda: array + 1) == array).all()
    assert (cache.get([b"ab", b""], lambda: array + 1) == array + 1).all()


def test_a_caption_too_long_for_the_clip(clip):
    with pytest.raises(UserError, match="too long for the CLIP"):
        ClipFeatures(clip).of_texts(["circle square " * 40])


def test_raw():
    pictures = np.zeros((2, 32, 32, 4), np.uint8)
    assert pixel_features(pictures).shape == (2, 16 * 16 * 4)
    assert pixel_features(pictures[:, :8, :8]).shape == (2, 8 * 8 * 4)
