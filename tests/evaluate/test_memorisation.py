"""A generator that copies is flagged, held-out pictures are not, and duplicates in training hide nothing."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from unstir.data.shapes import shape_pictures
from unstir.evaluate.metrics import pairwise_distance as distances
from unstir.evaluate.metrics.memorisation import memorisation, nearest_neighbours, reduced_pixels
from unstir.models.pixels import to_model


@pytest.fixture(scope="module")
def sets():
    """Training, held-out and fresh pictures, each (N, 32 · 32 · 4)."""
    return tuple(
        reduced_pixels(shape_pictures(count, 32, seed).pixels) for count, seed in ((400, 1), (200, 2), (100, 3))
    )


def copies(training, count=100, noise=0.05):
    rng = np.random.default_rng(0)
    return training[rng.choice(len(training), count, replace=False)] + noise * rng.normal(
        size=(count, training.shape[1])
    )


def test_a_copying_generator_is_caught_and_an_honest_one_is_not(sets):
    training, held_out, fresh = sets
    caught = memorisation(copies(training), held_out, training)
    assert caught.copied().value > 0.9
    assert caught.closer().value > 0.9
    assert caught.false_positives.value < 0.02
    honest = memorisation(fresh, held_out, training)
    assert honest.copied().value < 0.02
    assert honest.closer().value < 0.05
    assert honest.closer().chance == 0.01
    assert caught == memorisation(copies(training), held_out, training)
    assert json.loads(json.dumps(asdict(caught)))["false_positives"]["value"] == caught.false_positives.value


def test_some_copies_are_named(sets):
    training, held_out, fresh = sets
    mixed = fresh.copy()
    mixed[7], mixed[40] = training[11], training[300] + 0.01
    got = memorisation(mixed, held_out, training)
    assert {7, 40} <= set(got.copies)
    assert len(got.copies) <= 3  # few shapes, few colours: now and then a scene comes up again by itself
    assert (got.nearest[7][0], got.nearest[40][0]) == (11, 300)
    assert got.distances[7][0] == 0
    assert got.ratios[7] == 0


def test_duplicates_in_training_hide_no_copy(sets):
    training, held_out, _ = sets
    twice = np.concatenate([training, training])
    assert memorisation(copies(training), held_out, twice).copied().value > 0.9


def test_siblings_hide_a_copy_unless_they_are_named(sets):
    training, held_out, fresh = sets
    sibling = training + 0.02 * np.random.default_rng(5).normal(size=training.shape)  # the drawing in another style
    both, groups = np.concatenate([training, sibling]), np.tile(np.arange(len(training)), 2)
    drawn = copies(training)
    unnamed = memorisation(drawn, held_out, both)
    assert unnamed.copied().value == 0  # the ratio alone is blind here,
    assert unnamed.closer().value > 0.9  # the distance is not
    named = memorisation(drawn, held_out, both, groups)
    assert named.copied().value > 0.9
    assert named.false_positives.value < 0.02
    assert memorisation(fresh, held_out, both, groups).copied().value < 0.02


def test_by_brute_force(monkeypatch):
    monkeypatch.setattr(distances, "_CHUNK", 100)
    rng = np.random.default_rng(0)
    training, asked, groups = rng.normal(size=(40, 6)), rng.normal(size=(25, 6)), rng.integers(0, 8, 40)
    training[30] = training[3]
    got = nearest_neighbours(asked, training, groups, k=4)
    apart = np.sqrt(np.square(asked[:, None] - training[None]).sum(2))
    for i, row in enumerate(apart):
        ranked = np.argsort(row, kind="stable")
        assert got.rows[i].tolist() == ranked[:4].tolist()
        np.testing.assert_allclose(got.distances[i], row[ranked[:4]], rtol=1e-9)
        first = ranked[0]
        others = [j for j in range(40) if groups[j] != groups[first] and {first, j} != {3, 30}]
        assert got.ratios[i] == pytest.approx(row[first] / row[others].min(), rel=1e-9)


def test_pictures_are_reduced_as_models_see_them():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 4), dtype=np.uint8)
    seen = to_model(torch.from_numpy(pixels)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(reduced_pixels(pixels, 32), seen.reshape(3, -1), atol=1e-6)
    halved = seen.reshape(3, 16, 2, 16, 2, 4).mean((2, 4))
    np.testing.assert_allclose(reduced_pixels(pixels, 16), halved.reshape(3, -1), atol=1e-6)


def test_areas_that_cut_pixels_average_by_share():
    pixels = np.zeros((1, 3, 3, 3), np.uint8)
    pixels[0, :, 1] = 255
    got = reduced_pixels(pixels, 2).reshape(2, 2, 4)
    assert got[..., 0] == pytest.approx(2 / 3 - 1)  # half of the middle column, over one and a half columns
    assert (got[..., 3] == 1).all()
    plain = np.full((1, 45, 37, 3), 77, np.uint8)
    np.testing.assert_allclose(reduced_pixels(plain, 8).reshape(-1, 4)[:, :3], 2 * 77 / 255 - 1, rtol=1e-6)


def test_hidden_colours_do_not_count():
    clear = np.zeros((2, 8, 8, 4), np.uint8)
    clear[1, ..., :3] = 200
    one, other = reduced_pixels(clear, 4)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.zeros((4, 5))), "3 numbers and training pictures 5"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.ones((2, 3))), "has 2 rows; k must be 1 to that many, not 3"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.ones((4, 3))), "all training pictures show the same"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.eye(3), [1, 1, 1]), "all training pictures show the same"),
        (lambda: reduced_pixels(np.zeros((2, 8, 8), np.uint8)), "must be"),
        (lambda: reduced_pixels(np.zeros((2, 8, 8, 3))), "must be"),
        (lambda: reduced_pixels(np.zeros((2, 8, 8, 3), np.uint8), 16), "cannot be reduced"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_some_rows_alone(sets):
    """Each prompt set has a proportion of its own: pooled, copies of one side hide behind the other."""
    training, held_out, fresh = sets
    both = np.concatenate([copies(training), fresh])
    got = memorisation(both, held_out, training)
    assert got.copied(range(100)).value > 0.9
    assert got.copied(np.arange(100, 200)).value < 0.02
    assert 0.45 < got.copied().value < 0.55
    assert got.closer(range(100)).value > 0.9
    assert got.closer(range(100, 200)).value < 0.05


def test_without_held_out_pictures_there_is_no_floor(sets):
    training, held_out, fresh = sets
    got = memorisation(fresh, None, training)
    assert got.false_positives is got.closer() is None
    assert got.copied() == memorisation(fresh, held_out, training).copied()
