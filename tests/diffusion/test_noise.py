import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.diffusion.noise import GUIDANCE, SAMPLING, TRAINING, batch_normal, derive_seed, normal

SEED = st.integers(0, 2**64 - 1)


def test_moments_of_the_normal():
    x = normal((1_000_000,), seed=3, step=0).double()
    n = len(x)
    # Standard errors of mean, variance, skewness and kurtosis of n normal numbers; five of each.
    assert abs(x.mean().item()) < 5 / math.sqrt(n)
    assert abs(x.var().item() - 1) < 5 * math.sqrt(2 / n)
    assert abs((x**3).mean().item()) < 5 * math.sqrt(15 / n)
    assert abs((x**4).mean().item() - 3) < 5 * math.sqrt(96 / n)
    # And the whole distribution: Kolmogorov and Smirnov's distance, 1e-4 of samples exceed 2.2/sqrt(n).
    ordered = torch.special.ndtr(x.sort().values)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    assert max((ordered - steps[:-1]).max(), (steps[1:] - ordered).max()) < 2.2 / math.sqrt(n)


def test_pictures_steps_and_streams_are_independent():
    rows = torch.stack(
        [
            normal((50_000,), seed, step, stream).double()
            for seed, step, stream in [
                (0, 0, SAMPLING),
                (1, 0, SAMPLING),
                (2**32, 0, SAMPLING),
                (0, 1, SAMPLING),
                (0, 2, SAMPLING),
                (0, 0, TRAINING),
                (1, 1, TRAINING),
                (0, 0, GUIDANCE),
            ]
        ]
    )
    correlation = torch.corrcoef(rows) - torch.eye(len(rows), dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(50_000)
    # Nor is one a shifted copy of another.
    for lag in (1, 2, 4):
        assert abs((rows[:, lag:] * rows[:, :-lag]).mean(1)).max() < 5 / math.sqrt(50_000)


@settings(deadline=None)
@given(seed=SEED, step=st.integers(0, 2**32 - 1), other=SEED)
def test_a_function_of_its_arguments_only(seed, step, other):
    first = normal((3, 2), seed, step)
    normal((5,), other, step)
    assert torch.equal(normal((3, 2), seed, step), first)
    assert first.dtype == torch.float32
    if other != seed:
        assert not torch.equal(normal((3, 2), other, step), first)


@settings(deadline=None)
@given(seeds=st.lists(SEED, min_size=1, max_size=5), step=st.integers(0, 1000))
def test_a_row_of_a_batch_is_the_noise_of_that_seed(seeds, step):
    whole = batch_normal((2, 3), seeds, step, TRAINING)
    assert whole.shape == (len(seeds), 2, 3)
    for row, seed in zip(whole, seeds, strict=True):
        assert torch.equal(row, normal((2, 3), seed, step, TRAINING))


@settings(deadline=None)
@given(short=st.integers(0, 40), more=st.integers(0, 40), seed=SEED)
def test_fewer_numbers_are_the_beginning_of_more(short, more, seed):
    """In the order of memory: a smaller picture is a prefix of the flattened larger one, not a corner of it."""
    assert torch.equal(normal((short,), seed, 1), normal((short + more,), seed, 1)[:short])


def test_shapes():
    flat = normal((12,), 9, 4)
    assert torch.equal(normal((3, 2, 2), 9, 4).flatten(), flat)
    assert normal((), 9, 4) == flat[0]
    assert normal((0, 3), 9, 4).shape == (0, 3)


def test_extremes_of_the_uniform_numbers_are_finite(monkeypatch):
    for word in (0, 0xFFFFFFFF):
        constant = np.full(4, word, np.uint32)
        monkeypatch.setattr("unstir.diffusion.noise.random_words", lambda *a, constant=constant: constant)
        assert normal((4,), 0, 0).isfinite().all()


def test_global_state_is_neither_read_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = normal((8,), 5, 6)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np_state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert torch.equal(normal((8,), 5, 6), a)
    assert np.array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002


@settings(deadline=None)
@given(a=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4), b=st.lists(SEED, min_size=1, max_size=4))
def test_derived_seeds_tell_words_and_their_order_apart(a, b):
    assert 0 <= derive_seed(*a) < 2**63
    assert derive_seed(*a) == derive_seed(*a)
    if a != b:
        assert derive_seed(*a) != derive_seed(*b)
    torch.Generator().manual_seed(derive_seed(*a))


def test_derived_seeds_of_neighbours_are_spread():
    seeds = [derive_seed(0, i) for i in range(2000)]
    assert len(set(seeds)) == 2000
    ones = sum(seed.bit_count() for seed in seeds) / (2000 * 63)
    assert ones == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(2000 * 63))
