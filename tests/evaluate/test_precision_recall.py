"""Precision, recall, density, coverage: by hand, by brute force, and as the package of the authors has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc

from unstir.evaluate.metrics import pairwise_distance as distances
from unstir.evaluate.metrics.precision_recall import precision_recall


def normal(rows, dims, seed=0, spread=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, dims)) * spread + shift


def four(result):
    return [result.precision, result.recall, result.density, result.coverage]


def by_brute_force(real, fake, k):
    """One pair after the other, from the papers' formulas."""

    def distance(x, y):
        return np.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(x, y, strict=True)))

    def reach(rows):
        return [sorted(distance(x, y) for j, y in enumerate(rows) if j != i)[k - 1] for i, x in enumerate(rows)]

    near_real, near_fake = reach(real), reach(fake)
    inside = [[distance(x, y) <= r for x, r in zip(real, near_real, strict=True)] for y in fake]
    return [
        np.mean([any(row) for row in inside]),
        np.mean([any(distance(x, y) <= r for y, r in zip(fake, near_fake, strict=True)) for x in real]),
        sum(map(sum, inside)) / (k * len(fake)),
        np.mean([any(row[i] for row in inside) for i in range(len(real))]),
    ]


def test_by_hand():
    # On a line, k = 1. Real balls: 0 ± 1, 1 ± 1, 3 ± 2. Generated balls: 2 ± 0.5, 2.5 ± 0.5, 9 ± 6.5.
    got = precision_recall([[0.0], [1], [3]], [[2.0], [2.5], [9]], k=1)
    assert got.precision == pytest.approx(2 / 3)  # 2 and 2.5
    assert got.recall == pytest.approx(1 / 3)  # 3, in the ball around 9
    assert got.density == pytest.approx(3 / 3)  # 2 lies in the balls of 1 and 3; 2.5 in that of 3; 9 in none
    assert got.coverage == pytest.approx(2 / 3)  # 1 and 3


@pytest.mark.parametrize(("n", "m", "dims", "k"), [(40, 40, 2, 3), (30, 50, 5, 1), (25, 20, 16, 5), (12, 60, 3, 11)])
def test_by_brute_force(n, m, dims, k):
    real, fake = normal(n, dims, 1), normal(m, dims, 2, 0.9, 0.4)
    assert four(precision_recall(real, fake, k)) == pytest.approx(by_brute_force(real, fake, k), abs=1e-12)


@pytest.mark.parametrize("k", [1, 5])
def test_as_the_authors_package(k):
    real, fake = normal(300, 8, 1), normal(250, 8, 2, 0.8, 0.3)
    got = compute_prdc(real, fake, nearest_k=k)
    names = ("precision", "recall", "density", "coverage")
    assert four(precision_recall(real, fake, k)) == pytest.approx([got[name] for name in names], abs=1e-12)


def test_a_set_agrees_with_itself_even_with_duplicates():
    rows = np.repeat(normal(30, 6, 1), 8, axis=0)  # each ball of k = 5 has no reach at all
    got = precision_recall(rows, rows)
    assert four(got) == [1, 1, pytest.approx(8 / 5), 1]
    # The numbers of rows shift all products of matrices, and must not shift what is equal.
    assert precision_recall(rows, rows[::3]).precision == 1


def test_a_collapsed_and_a_faraway_generator():
    real = normal(100, 4, 1)
    one_picture = precision_recall(real, np.repeat(real[:1], 50, axis=0) + normal(50, 4, 2, 1e-6))
    assert one_picture.precision == 1
    assert one_picture.recall <= 0.01
    assert one_picture.coverage < 0.2
    assert four(precision_recall(real, normal(50, 4, 3, 1, 100))) == [0, 0, 0, 0]


def test_chunks_change_nothing(monkeypatch):
    real, fake = normal(50, 3, 1), normal(41, 3, 2)
    whole = precision_recall(real, fake)
    monkeypatch.setattr(distances, "_CHUNK", 100)
    assert precision_recall(real, fake) == whole


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 30), m=st.integers(4, 30), k=st.integers(1, 3))
def test_shares_stay_in_their_range(seed, n, m, k):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) * rng.uniform(0.1, 2) + rng.normal(size=3)
    got = precision_recall(real, fake, k)
    assert all(0 <= value <= 1 for value in (got.precision, got.recall, got.coverage))
    assert 0 <= got.density <= n / k
    swapped = precision_recall(fake, real, k)
    assert (got.precision, got.recall) == (swapped.recall, swapped.precision)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, 1e3, 1e6]), gap=st.sampled_from([1.0, 1e-3, 1e-6]))
def test_distances_are_exact(seed, offset, gap):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(5, 7)) + offset
    b = np.concatenate([a + gap * rng.normal(size=a.shape), a, rng.normal(size=(3, 7))])
    got = np.concatenate([block for _, block in distances.squared_distances(a, b)])
    np.testing.assert_allclose(got, np.square(a[:, None] - b[None]).sum(2), rtol=1e-8)
    assert (np.diagonal(got[:, 5:10]) == 0).all()


def test_what_has_no_neighbours_is_refused():
    with pytest.raises(ValueError, match="no 5-th neighbour"):
        precision_recall(normal(5, 2), normal(9, 2))
    with pytest.raises(ValueError, match="no 0-th neighbour"):
        precision_recall(normal(5, 2), normal(9, 2), 0)
