"""The kernel distance: by its definition, against torchmetrics, and zero on average between equals."""

import warnings

import numpy as np
import pytest
import torch

from unstir.evaluate.metrics import kernel_distance as module
from unstir.evaluate.metrics.kernel_distance import kernel_distance, kernel_distance_of_subsets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchmetrics.image.kid import KernelInceptionDistance


def normal(rows, dims, seed=0, spread=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, dims)) * spread + shift


def by_definition(a, b):
    def k(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    same = [np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    return sum(same) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_by_definition_and_by_hand():
    a, b = normal(7, 3, 1), normal(5, 3, 2, 1.5, 0.3)
    assert kernel_distance(a, b).value == pytest.approx(by_definition(a, b), rel=1e-12)
    # k(1, 1) = 8, k(1, -1) = 0: 8 + 8 - 2 · 0.
    assert kernel_distance([[1.0], [1.0]], [[-1.0], [-1.0]]).value == 16


def test_chunks_change_nothing(monkeypatch):
    a, b = normal(50, 4, 1), normal(33, 4, 2)
    whole = kernel_distance(a, b).value
    monkeypatch.setattr(module, "_CHUNK", 100)
    assert kernel_distance(a, b).value == pytest.approx(whole, rel=1e-12)


def by_torchmetrics(a, b, **options):
    class Given(torch.nn.Module):
        def forward(self, rows):
            return rows

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it keeps all features
        metric = KernelInceptionDistance(feature=Given(), **options)
    metric.update(torch.as_tensor(a), real=True)
    metric.update(torch.as_tensor(b), real=False)
    return [number.item() for number in metric.compute()]


@pytest.mark.parametrize("dims", [4, 64])
def test_as_torchmetrics(dims):
    a, b = normal(300, dims, 1), normal(300, dims, 2, 1.2, 0.2)
    mean, std = by_torchmetrics(a, b, subsets=3, subset_size=300)  # each subset is the set
    got = kernel_distance_of_subsets(a, b, subsets=3, size=300)
    assert got.mean == pytest.approx(mean, rel=1e-6)
    assert got.std == pytest.approx(std, abs=1e-9)
    assert kernel_distance(a, b).value == pytest.approx(mean, rel=1e-6)
    # With true subsets the draws differ, but not by more than their spread allows.
    mean, std = by_torchmetrics(a, b, subsets=60, subset_size=100)
    got = kernel_distance_of_subsets(a, b, subsets=60, size=100)
    assert got.mean == pytest.approx(mean, abs=4 * std / np.sqrt(60))
    assert got.std == pytest.approx(std, rel=0.5)


def test_zero_on_average_between_equals():
    values = [kernel_distance(normal(30, 5, 2 * i), normal(50, 5, 2 * i + 1)).value for i in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0
    assert kernel_distance(normal(30, 5, 1), normal(50, 5, 2, 1, 1)).value > 10 * np.std(values)


def test_subsets_follow_the_seed():
    a, b = normal(60, 3, 1), normal(50, 3, 2, 1.3)
    assert kernel_distance_of_subsets(a, b, 10, 20, seed=3) == kernel_distance_of_subsets(a, b, 10, 20, seed=3)
    assert kernel_distance_of_subsets(a, b, 10, 20, seed=3) != kernel_distance_of_subsets(a, b, 10, 20, seed=4)


def test_what_makes_no_sense_is_refused():
    for arguments in ({"size": 11}, {"size": 1}, {"subsets": 0, "size": 5}):
        with pytest.raises(ValueError, match="cannot take"):
            kernel_distance_of_subsets(np.zeros((10, 2)), np.zeros((20, 2)), **arguments)
    with pytest.raises(ValueError, match="1 rows"):
        kernel_distance(np.zeros((1, 2)), np.zeros((20, 2)))
