"""The Fréchet distance: against closed forms, against torchmetrics, with few rows, and in pieces."""

import json
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.evaluate.metrics.frechet_distance import GaussianFit, frechet_distance, frechet_distance_of_fits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchmetrics.image.fid import FrechetInceptionDistance


def normal(rows, dims, seed=0, spread=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, dims)) * spread + shift


def exactly(rows, mean, covariance):
    """Rows whose mean and covariance are the given ones, not only near them."""
    raw = normal(rows, len(mean), 7)
    raw -= raw.mean(0)
    raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return raw @ np.linalg.cholesky(covariance).T + mean


def test_of_gaussians_with_diagonal_covariances():
    one, two = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    got = frechet_distance(exactly(50, np.zeros(3), np.diag(one)), exactly(80, np.array([3.0, 0, -4]), np.diag(two)))
    assert got.mean_term == pytest.approx(25, rel=1e-12)
    assert got.covariance_term == pytest.approx(np.square(np.sqrt(one) - np.sqrt(two)).sum(), rel=1e-12)
    assert got.value == pytest.approx(30, rel=1e-12)
    assert (got.real, got.generated) == (50, 80)
    assert json.loads(json.dumps(asdict(got))) == asdict(got)


def test_of_gaussians_that_do_not_commute():
    one = np.array([[2.0, 1.0], [1.0, 2.0]])
    two = np.array([[5.0, 0.0], [0.0, 1.0]])
    # In two dimensions the trace of the root of M is sqrt(tr M + 2 sqrt(det M)).
    product = one @ two
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    got = frechet_distance(exactly(40, np.zeros(2), one), exactly(40, np.zeros(2), two))
    assert got.value == pytest.approx(4 + 6 - 2 * root, rel=1e-12)


def by_torchmetrics(a, b):
    class Given(torch.nn.Module):
        num_features = a.shape[1]

        def forward(self, rows):
            return rows

    metric = FrechetInceptionDistance(feature=Given())
    metric.update(torch.as_tensor(a), real=True)
    metric.update(torch.as_tensor(b), real=False)
    return metric.compute().item()


@pytest.mark.parametrize(("rows", "dims"), [(500, 8), (300, 64), (1000, 128), (70, 64)])
def test_as_torchmetrics(rows, dims):
    mix = normal(dims, dims, 3) / np.sqrt(dims)
    a, b = normal(rows, dims, 1) @ mix, normal(rows, dims, 2, 1.2, 0.1) @ mix.T
    assert frechet_distance(a, b).value == pytest.approx(by_torchmetrics(a, b), rel=1e-6)


def by_roots(a, b):
    """The formula as it is written, through symmetric roots: slow, and exact enough with few rows too."""

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T

    one, two = np.cov(a.T), np.cov(b.T)
    half = root(one)
    mixed = np.trace(root(half @ two @ half))
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one) + np.trace(two) - 2 * mixed


@pytest.mark.parametrize(("n", "m"), [(5, 5), (10, 30), (30, 10), (20, 200), (64, 64), (2, 2)])
def test_with_fewer_rows_than_dimensions(n, m):
    a, b = normal(n, 64, 1), normal(m, 64, 2, 0.7, 0.2)
    assert frechet_distance(a, b).value == pytest.approx(by_roots(a, b), rel=1e-6)
    assert frechet_distance(a, b).value == pytest.approx(
        frechet_distance_of_fits(GaussianFit.of(a), GaussianFit.of(b)).value, rel=1e-9
    )
    assert 0 <= frechet_distance(a, a).value < 1e-11


def test_of_sets_without_spread():
    assert frechet_distance(np.full((4, 3), 2.0), np.full((9, 3), 5.0)).value == 27
    assert frechet_distance(np.zeros((4, 3)), np.zeros((9, 3))).value == 0


def test_large_offsets_cost_no_digits():
    a, b = normal(200, 6, 1), normal(200, 6, 2, 1.1)
    assert frechet_distance(a + 1e6, b + 1e6).value == pytest.approx(frechet_distance(a, b).value, rel=1e-6)


@pytest.mark.parametrize("cuts", [[100], [1, 2, 3], [37, 240]])
def test_pieces_merge_to_the_whole(cuts):
    rows = normal(300, 5, 1, 2.0, 1e4)
    whole, merged = GaussianFit.of(rows), GaussianFit.merged(*map(GaussianFit.of, np.split(rows, cuts)))
    assert merged.count == 300
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, np.cov(rows.T), rtol=1e-9, atol=1e-9)


def test_tensors_and_single_precision_are_taken():
    a, b = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)), normal(40, 4).astype(np.float32)
    assert frechet_distance(a, b) == frechet_distance(a.double().numpy(), b.astype(np.float64))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), m=st.integers(2, 40), dims=st.integers(1, 12))
def test_symmetric_and_blind_to_rotation_and_shift(seed, n, m, dims):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, dims)), rng.normal(size=(m, dims)) * rng.uniform(0.1, 3, dims) + rng.normal(size=dims)
    turn = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    value = frechet_distance(a, b).value
    assert value >= 0
    assert frechet_distance(b, a).value == pytest.approx(value, rel=1e-8, abs=1e-9)
    assert frechet_distance(a @ turn + 3, b @ turn + 3).value == pytest.approx(value, rel=1e-8, abs=1e-9)
    assert frechet_distance(a, b) == frechet_distance(a, b)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "the real features have 1 rows"),
        (np.zeros((5, 3)), np.zeros((0, 3)), "the generated features have 0 rows"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4 dimensions"),
        (np.zeros(5), np.zeros((5, 3)), r"\(N, D\)"),
        (np.zeros((5, 0)), np.zeros((5, 0)), r"\(N, D\)"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "NaN"),
        (np.zeros((5, 3)), np.full((5, 3), np.inf), "infinity"),
    ],
)
def test_what_has_no_distance_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_summaries_that_do_not_fit_are_refused():
    one = GaussianFit.of(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance_of_fits(one, one)
    for act in (one.merge, lambda other: frechet_distance_of_fits(one, other)):
        with pytest.raises(ValueError, match="3 and 2 dimensions"):
            act(GaussianFit.of(np.zeros((4, 2))))
