"""Halves of one size that keep groups whole, and distances side by side at one N."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.evaluate.frechet import frechet
from unstir.evaluate.halves import compare, halves, set_distances


def normal(rows, dims=4, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, dims)) + shift


@settings(deadline=None)
@given(count=st.integers(2, 200), seed=st.integers(0, 2**64))
def test_two_halves(count, seed):
    one, other = halves(count, seed)
    assert len(one) == len(other) == count // 2
    assert not set(one) & set(other)
    assert set(one) | set(other) <= set(range(count))


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 12), min_size=2, max_size=80).filter(lambda ids: len(set(ids)) > 1))
def test_groups_stay_whole(ids):
    one, other = halves(len(ids), 3, ids)
    assert len(one) == len(other) >= 1
    assert not {ids[i] for i in one} & {ids[i] for i in other}


def test_groups_of_like_size_lose_next_to_nothing():
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 3))
    one, _ = halves(300, 1, ids)
    assert len(one) == 150


def test_halves_follow_seed_and_split():
    assert np.array_equal(halves(50, 1)[0], halves(50, 1)[0])
    assert not np.array_equal(halves(50, 1)[0], halves(50, 2)[0])
    assert not np.array_equal(halves(50, 1)[0], halves(50, 1, split=1)[0])


def test_floor_and_value_of_equals_agree_and_of_others_do_not():
    real = normal(400, seed=1)
    same = compare(real, normal(500, seed=2))
    assert same.rows == 200
    frechets = same.distances["frechet"]
    assert frechets.value == pytest.approx(frechets.floor, rel=0.6)
    assert set(same.distances) == {"frechet", "kernel", "precision", "recall", "density", "coverage"}
    apart = compare(real, normal(500, seed=2, shift=1.0)).distances
    assert apart["frechet"].value > 10 * apart["frechet"].floor
    assert apart["kernel"].value > 10 * abs(apart["kernel"].floor)
    assert apart["precision"].value < apart["precision"].floor
    assert json.loads(json.dumps(asdict(same))) == asdict(same)
    assert same == compare(real, normal(500, seed=2))


def test_all_sides_have_one_number_of_rows():
    seen = []

    def count(reference, other):
        seen.append((len(reference), len(other)))
        return {"rows": len(other)}

    for real, generated, rows in ((100, 500, 50), (100, 30, 30), (101, 50, 50)):
        seen.clear()
        got = compare(normal(real), normal(generated), count, splits=2)
        assert got.rows == rows
        assert set(seen) == {(rows, rows)}
        assert got.distances["rows"].floor == rows


def test_why_the_numbers_must_be_equal():
    # The same two distributions: with a tenth of the rows the distance is a multiple.
    few, many = (frechet(normal(rows, 16, 1), normal(rows, 16, 2)).value for rows in (50, 500))
    assert few > 5 * many


def test_siblings_in_both_halves_would_lower_the_floor():
    drawings = normal(60, 8, 1)
    styles = np.concatenate([drawings, drawings + 0.01 * normal(60, 8, 2)])
    ids = np.tile(np.arange(60), 2)
    new = normal(200, 8, 3)
    apart, together = (compare(styles, new, groups=groups, splits=10).distances["frechet"] for groups in (None, ids))
    assert apart.floor < 0.8 * together.floor
    assert together.value == pytest.approx(together.floor, rel=0.3)


def test_by_name():
    got = set_distances(normal(40, seed=1), normal(40, seed=2))
    assert got["frechet"] == frechet(normal(40, seed=1), normal(40, seed=2)).value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: halves(1), "cannot be halved"),
        (lambda: halves(4, groups=[1, 1, 1, 1]), "cannot be halved"),
        (lambda: halves(4, groups=[1, 2]), r"must be \(4,\)"),
        (lambda: compare(normal(20), normal(20), splits=0), "at least once"),
        (lambda: compare(normal(20), normal(20, 3)), "4 and 3 dimensions"),
    ],
)
def test_what_cannot_be_split_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
