"""What a comparison is held against: probabilistic PCA, independent values, and the distance at infinity."""

import math

import numpy as np
import pytest

from unstir.compare.anchors import Gaussian, ProbabilisticPca, copied, independent_bits
from unstir.compare.data import held_out_rows
from unstir.data.pictures import Pictures
from unstir.evaluate.metrics.frechet_infinity import frechet_infinity


def pictures(pixels, captions):
    count = len(pixels)
    return Pictures(pixels, [(caption,) for caption in captions], [str(i) for i in range(count)], [{}] * count)


def test_probabilistic_pca_is_the_gaussian_of_its_data():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 8))
    rows = rng.normal(size=(4_000, 3)) @ mixing + 0.3 * rng.normal(size=(4_000, 8)) + 1
    found = Gaussian(rows, components=3)
    covariance = np.cov(rows.T, bias=True)
    model = found.axes.T * (found.variance - found.noise) @ found.axes + found.noise * np.eye(8)
    np.testing.assert_allclose(model, covariance, atol=0.05)
    # The density of this covariance, in closed form.
    centred = rows[:5] - found.mean
    wanted = -0.5 * (
        (centred @ np.linalg.inv(model) * centred).sum(1) + np.linalg.slogdet(model)[1] + 8 * math.log(2 * math.pi)
    )
    np.testing.assert_allclose(found.log_density(rows[:5]), wanted, rtol=1e-8)
    drawn = np.stack([found.draw(rng) for _ in range(4_000)])
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.9)
    np.testing.assert_allclose(drawn.mean(0), found.mean, atol=0.2)


def test_bits_of_uniform_noise_are_eight():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    data = pictures(noise, ["x"] * 600)
    new = rng.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    assert independent_bits(data, new).mean() == pytest.approx(8, abs=0.25)
    # A Gaussian cannot be uniform: its bits are above, by the divergence of the two, 0.25 bits.
    gaussian = ProbabilisticPca(data).bits(new, ["x"] * 50).mean()
    assert gaussian == pytest.approx(8 + 0.5 * math.log2(math.pi * math.e / 6), abs=0.15)


def test_constant_values_cost_little():
    data = pictures(np.full((500, 2, 2, 3), 7, dtype=np.uint8), ["x"] * 500)
    same = np.full((1, 2, 2, 3), 7, dtype=np.uint8)
    assert independent_bits(data, same)[0] == pytest.approx(-math.log2(501 / 756))
    assert np.isfinite(ProbabilisticPca(data).bits(same, ["x"])[0])


def test_each_frequent_caption_has_a_gaussian_of_its_own():
    dark, light = np.full((50, 2, 2, 3), 10, np.uint8), np.full((50, 2, 2, 3), 240, np.uint8)
    data = pictures(np.concatenate([dark, light]), ["dark"] * 50 + ["light"] * 50)
    model = ProbabilisticPca(data)
    made = model.draw(["dark", "light", "other"], [0, 1, 2])
    assert made[0].mean() < 20
    assert made[1].mean() > 230
    assert (model.draw(["light"], [1])[0] == made[1]).all()
    assert copied(data, ["light", "dark"], 0)[:, 0, 0, 0].tolist() == [240, 10]


def test_the_distance_at_infinity_has_less_bias():
    reference = np.random.default_rng(0).normal(size=(3_000, 24))
    far = [frechet_infinity(reference, np.random.default_rng(1 + i).normal(size=(300, 24)), i) for i in range(6)]
    assert np.mean([one.at_all for one in far]) > 0.4
    assert abs(np.mean([one.value for one in far])) < 0.1
    shifted = frechet_infinity(reference, np.random.default_rng(9).normal(size=(300, 24)) + 1)
    assert shifted.value == pytest.approx(24, rel=0.1)
    with pytest.raises(ValueError, match="8 pictures"):
        frechet_infinity(reference, reference[:4])


def test_groups_are_held_out_whole():
    groups = [f"g{i // 3}" for i in range(300)]
    out = held_out_rows(groups, 0)
    assert 30 <= out.sum() <= 33
    assert {group for group, held in zip(groups, out, strict=True) if held}.isdisjoint(
        group for group, held in zip(groups, out, strict=True) if not held
    )
    assert (held_out_rows(groups, 0) == out).all()
    assert (held_out_rows(groups, 1) != out).any()
