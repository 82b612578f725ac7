"""Splits at random into parts of about one size that keep groups whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.evaluate.statistics.split_half import split_by_group, split_half


@settings(deadline=None)
@given(count=st.integers(2, 200), seed=st.integers(0, 2**64))
def test_two_halves(count, seed):
    one, other = split_half(count, seed)
    assert len(one) == len(other) == count // 2
    assert not set(one) & set(other)
    assert set(one) | set(other) <= set(range(count))


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 12), min_size=2, max_size=80).filter(lambda ids: len(set(ids)) > 1))
def test_groups_stay_whole(ids):
    one, other = split_half(len(ids), 3, ids)
    assert len(one) == len(other) >= 1
    assert not {ids[i] for i in one} & {ids[i] for i in other}


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 12), min_size=1, max_size=80), parts=st.integers(1, 4))
def test_parts_have_every_row_once_and_no_group_twice(ids, parts):
    got = split_by_group(len(ids), parts, 3, ids)
    assert len(got) == parts
    assert sorted(np.concatenate(got).tolist()) == list(range(len(ids)))
    groups = [{ids[i] for i in part} for part in got]
    assert sum(map(len, groups)) == len(set(ids))


def test_groups_of_similar_size_lose_next_to_nothing():
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 3))
    one, _ = split_half(300, 1, ids)
    assert len(one) == 150
    assert {len(part) for part in split_by_group(300, 3, 1, ids)} <= {99, 102}


def test_splits_follow_seed_and_number():
    assert np.array_equal(split_half(50, 1)[0], split_half(50, 1)[0])
    assert not np.array_equal(split_half(50, 1)[0], split_half(50, 2)[0])
    assert not np.array_equal(split_half(50, 1)[0], split_half(50, 1, split=1)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_half(1), "cannot be halved"),
        (lambda: split_half(4, groups=[1, 1, 1, 1]), "cannot be halved"),
        (lambda: split_half(4, groups=[1, 2]), r"must be \(4,\)"),
    ],
)
def test_what_cannot_be_split_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
