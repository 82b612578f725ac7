"""The power-function average of EDM2 against its closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.train.config import TrainConfig
from unstir.train.ema import Average, gamma_of


@pytest.mark.parametrize(("width", "gamma"), [(0.10, 6.94), (0.05, 16.97)])
def test_gamma_as_published(width, gamma):
    # Karras et al. 2024, section 3.1
    assert gamma_of(width) == pytest.approx(gamma, abs=0.005)


@settings(max_examples=30)
@given(st.floats(0.01, 0.28))
def test_gamma_gives_the_width_asked_for(width):
    gamma = gamma_of(width)
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    weight = t**gamma
    weight /= weight.sum()
    mean = (weight * t).sum()
    assert math.sqrt((weight * (t - mean).square()).sum()) == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, 1.0, math.nan])
def test_impossible_widths(width):
    with pytest.raises(ValueError, match="width"):
        gamma_of(width)


class Layer(torch.nn.Linear):
    def parts(self):
        return {"main": self}


def followed(values, width, batch=8):
    """The average after a parameter had these values at 8, 16, 24, … pictures."""
    model = Layer(1, 1, bias=False, dtype=torch.float64)
    average = Average(model, TrainConfig(images=1, ema=width))
    for i, value in enumerate(values, 1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model, i * batch, batch)
    return average.weights["weight"].item()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.sampled_from([0.05, 0.1, 0.2]))
def test_is_the_weighted_mean_with_weights_t_to_the_gamma(values, width):
    """w(t) ∝ t^gamma, integrated over the step in which each value held: EDM2, eq. 2."""
    power = gamma_of(width) + 1
    weights = [i**power - (i - 1) ** power for i in range(1, len(values) + 1)]
    wanted = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert followed(values, width) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_long_run_has_the_mean_of_the_power_function():
    gamma, n = gamma_of(0.1), 4_000
    # With theta(t) = t the average is E[t] = T (gamma + 1) / (gamma + 2).
    assert followed([i / n for i in range(1, n + 1)], 0.1) == pytest.approx((gamma + 1) / (gamma + 2), abs=1 / n)


def test_starting_weights_are_forgotten_at_the_first_step():
    assert followed([3.5], 0.05) == 3.5


def test_load_copies():
    model = Layer(2, 2)
    average = Average(model, TrainConfig(images=1, ema=0.1))
    other = {name: torch.full_like(value, 7.0) for name, value in average.weights.items()}
    average.load(other)
    average.update(model, 16, 8)
    assert all((value == 7).all() for value in other.values())
