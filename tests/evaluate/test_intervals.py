"""Intervals: Wilson's, the bootstrap's and the jackknife's hold what they promise; and the draws behind them."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.metrics.kernel_distance import kernel_distance
from unstir.evaluate.statistics.bootstrap import bootstrap_interval
from unstir.evaluate.statistics.jackknife import _student, jackknife
from unstir.evaluate.statistics.resampling import permutation, sample_with_replacement
from unstir.evaluate.statistics.wilson import wilson_interval


def mean(rows):
    return float(rows.mean())


def fd(a, b):
    return frechet_distance(a, b).value


def test_draws_are_a_function_of_seed_and_stream():
    assert np.array_equal(sample_with_replacement(10, 100, 1, 2), sample_with_replacement(10, 100, 1, 2))
    assert not np.array_equal(sample_with_replacement(10, 100, 1, 2), sample_with_replacement(10, 100, 1, 3))
    assert not np.array_equal(sample_with_replacement(10, 100, 1, 2), sample_with_replacement(10, 100, 2, 2))
    assert np.array_equal(sample_with_replacement(10, 100, 1)[:50], sample_with_replacement(10, 50, 1))
    # Written down once: another NumPy must give the same.
    assert sample_with_replacement(1000, 4, 7).tolist() == PICKED
    assert permutation(6, 7).tolist() == SHUFFLED


PICKED = [872, 295, 420, 405]
SHUFFLED = [4, 1, 3, 2, 5, 0]


@given(n=st.integers(1, 300), seed=st.integers(-5, 2**64 + 5))
def test_draws_stay_in_range(n, seed):
    assert sorted(permutation(n, seed)) == list(range(n))
    drawn = sample_with_replacement(n, 50, seed)
    assert drawn.min() >= 0
    assert drawn.max() < n


def test_picks_are_even():
    counts = np.bincount(sample_with_replacement(7, 70_000, 1), minlength=7)
    assert abs(counts - 10_000).max() < 400


def test_wilson_by_hand():
    got = wilson_interval(8, 10)  # the example that textbooks give
    assert (got.low, got.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert (wilson_interval(0, 10).low, wilson_interval(10, 10).high) == (0, 1)
    assert wilson_interval(0, 10).high == pytest.approx(1 - wilson_interval(10, 10).low, rel=1e-12)
    assert asdict(wilson_interval(1, 4, chance=0.1))["chance"] == 0.1


@given(total=st.integers(1, 500), part=st.floats(0, 1))
def test_wilson_holds_the_share(total, part):
    got = wilson_interval(int(part * total), total)
    assert 0 <= got.low <= got.value <= got.high <= 1


@pytest.mark.parametrize(("right", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_no_share(right, total):
    with pytest.raises(ValueError, match="is not a proportion"):
        wilson_interval(right, total)


def test_the_bootstrap_of_a_mean():
    rows = np.random.default_rng(0).normal(3, 2, 400)
    got = bootstrap_interval(mean, [rows], resamples=2000)
    error = rows.std() / 20
    assert got.value == rows.mean()
    assert got.low == pytest.approx(rows.mean() - 1.96 * error, abs=0.1 * error)
    assert got.high == pytest.approx(rows.mean() + 1.96 * error, abs=0.1 * error)
    assert got == bootstrap_interval(mean, [rows], resamples=2000)
    assert got != bootstrap_interval(mean, [rows], resamples=2000, seed=1)


def test_the_bootstrap_covers():
    rng = np.random.default_rng(0)
    held = [
        (got := bootstrap_interval(mean, [rng.exponential(size=100)], 200)).low <= 1 <= got.high for _ in range(300)
    ]
    assert 0.89 <= np.mean(held) <= 0.97


def test_rows_of_a_group_are_drawn_together():
    rows = np.repeat(np.random.default_rng(0).normal(size=50), 8)
    ids = np.repeat([f"prompt {i}" for i in range(50)], 8)
    alone, together = bootstrap_interval(mean, [rows]), bootstrap_interval(mean, [rows], groups=[ids])
    # Eight copies are no more evidence than one.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(8), rel=0.1)
    seen = []
    bootstrap_interval(lambda kept: seen.append(kept) or 0.0, [ids], 3, groups=[ids])
    for kept in seen:
        assert len(kept) == 400
        assert all(count % 8 == 0 for count in np.unique(kept, return_counts=True)[1])


def test_two_sets_are_drawn_independently():
    seen = []
    bootstrap_interval(lambda a, b: seen.append((a, b)) or 0.0, [np.arange(30), np.arange(30)], 5)
    assert all(not np.array_equal(a, b) for a, b in seen[:-1])


def test_the_jackknife_of_a_mean_is_the_textbook_error():
    rows = np.random.default_rng(0).normal(3, 2, 40)
    got = jackknife(mean, [rows], blocks=40)
    assert got.error == pytest.approx(rows.std(ddof=1) / np.sqrt(40), rel=1e-9)
    assert got.corrected == pytest.approx(got.value, rel=1e-12)  # a mean has no bias
    assert got.high - got.value == pytest.approx(2.0227 * got.error, rel=1e-3)  # t, 39 degrees of freedom


def test_the_jackknife_takes_the_bias_off_a_variance():
    rows = np.random.default_rng(0).normal(size=40)
    got = jackknife(lambda x: float(x.var()), [rows], blocks=40)
    assert got.corrected == pytest.approx(rows.var(ddof=1), rel=1e-12)


def test_student():
    for freedom, value in ((4, 2.7764), (5, 2.5706), (10, 2.2281), (19, 2.0930), (38, 2.0244), (1000, 1.9623)):
        assert _student(0.975, freedom) == pytest.approx(value, rel=2e-3)
    assert _student(0.95, 19) == pytest.approx(1.7291, rel=1e-4)


def trial(rng, rows=100, dims=4):
    """Two Gaussian sets whose Fréchet distance is 0.25 + 4 · 0.2² = 0.41."""
    a = rng.normal(size=(rows, dims))
    return a, rng.normal(size=(rows, dims)) * 1.2 + np.array([0.5, 0, 0, 0])


def test_the_jackknife_covers_a_frechet_distance():
    rng = np.random.default_rng(0)
    found = [jackknife(fd, trial(rng), seed=i) for i in range(120)]
    typical = np.mean([one.value for one in found])
    assert typical > 0.45  # the bias: the true distance is 0.41
    assert np.mean([one.low <= typical <= one.high for one in found]) >= 0.9
    assert np.mean([one.corrected_low <= 0.41 <= one.corrected_high for one in found]) >= 0.9
    assert np.mean([one.corrected for one in found]) == pytest.approx(0.41, abs=0.055)  # 3 standard errors
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.value for one in found]), rel=0.25)


def test_why_the_bootstrap_is_not_for_distances():
    a, b = (np.random.default_rng(i).normal(size=(60, 32)) for i in range(2))
    got = bootstrap_interval(fd, [a, b], 50)
    assert got.low > got.value  # it does not even hold the value


@pytest.mark.slow
def test_the_jackknife_covers_with_more_dimensions_than_rows_and_between_equals():
    for dims, rows, shift in ((32, 400, 0.5), (8, 200, 0.0), (64, 50, 1.0)):
        rng = np.random.default_rng(1)
        found = []
        for i in range(60):
            a, b = rng.normal(size=(rows, dims)), rng.normal(size=(rows, dims)) + shift / np.sqrt(dims)
            found.append(jackknife(fd, [a, b], seed=i))
        typical = np.mean([one.value for one in found])
        assert np.mean([one.low <= typical <= one.high for one in found]) >= 0.9


def test_the_jackknife_of_a_kernel_distance_with_groups():
    a, b = np.random.default_rng(0).normal(size=(80, 4)), np.random.default_rng(1).normal(size=(60, 4)) + 0.3
    alone = jackknife(lambda x, y: kernel_distance(x, y).value, [a, b], 10)
    assert alone == jackknife(lambda x, y: kernel_distance(x, y).value, [a, b], 10)
    assert alone.low < alone.value < alone.high
    seen = []
    ids = np.repeat(np.arange(20), 4)
    jackknife(lambda x, y: seen.append(np.unique(x, return_counts=True)[1]) or 0.0, [ids, b], 10, groups=[ids, None])
    assert all((counts == 4).all() for counts in seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(mean, [np.zeros(0)]), "without rows"),
        (lambda: bootstrap_interval(mean, []), "for 0 sets"),
        (lambda: bootstrap_interval(mean, [np.zeros(3)], resamples=1), "resamples >= 2"),
        (lambda: bootstrap_interval(mean, [np.zeros(3)], level=1.0), "level < 1"),
        (lambda: bootstrap_interval(mean, [np.zeros(3)], groups=[[1, 2]]), r"must be \(3,\)"),
        (lambda: bootstrap_interval(mean, [np.zeros(3)], groups=[None, None]), "2 lists of groups for 1 sets"),
        (lambda: jackknife(mean, [np.zeros(9)], blocks=10), "cannot be cut into 10 blocks"),
        (lambda: jackknife(mean, [np.zeros(9)], blocks=4), "blocks >= 5"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
