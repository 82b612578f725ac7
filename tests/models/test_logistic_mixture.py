"""The distribution of a pixel: it sums to one, is its own chain of channels, and is drawn as it says."""

import itertools
import math

import pytest
import torch

from unstir.models.logistic_mixture import drawn_levels, mixture_numbers, pixel_mixture


def mixture_of(channels, levels, count=4, components=3, seed=0, scale=1.5):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(count, mixture_numbers(channels, components), generator=generator, dtype=torch.float64)
    return pixel_mixture(numbers * scale, channels, components, levels)


def test_the_numbers_of_a_component():
    assert [mixture_numbers(channels, 1) for channels in (1, 3, 4)] == [3, 10, 15]


@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (1, 17), (1, 256), (3, 2), (3, 5), (4, 3)])
def test_all_pixels_sum_to_one(channels, levels):
    mixture = mixture_of(channels, levels)
    every = torch.tensor(list(itertools.product(mixture.grid.tolist(), repeat=channels)), dtype=torch.float64)
    logs = torch.stack([mixture.log_probability(x.expand(4, -1)) for x in every])
    assert torch.allclose(logs.exp().sum(0), torch.ones(4, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_pixel_is_its_channels_one_after_the_other(channels):
    mixture = mixture_of(channels, 17, count=50)
    numbers = torch.randint(17, (50, channels), generator=torch.Generator().manual_seed(1))
    x = mixture.grid[numbers]
    chain = torch.zeros(50, dtype=torch.float64)
    for channel in range(channels):
        table = mixture.channel_log_probabilities(x[:, :channel])
        assert torch.allclose(table.exp().sum(-1), torch.ones(50, dtype=torch.float64))
        chain = chain + table.gather(1, numbers[:, channel : channel + 1])[:, 0]
    assert torch.allclose(chain, mixture.log_probability(x), atol=1e-9)


def test_a_later_channel_knows_the_earlier_ones():
    mixture = mixture_of(3, 17, count=1)
    one, other = (mixture.channel_log_probabilities(torch.tensor([[x]], dtype=torch.float64)) for x in (-1.0, 1.0))
    assert (one - other).abs().max() > 0.1


def test_levels_are_drawn_as_often_as_they_are_probable():
    logs = torch.tensor([0.1, 0.2, 0.05, 0.6, 0.05], dtype=torch.float64).log()
    every = logs.expand(1000, -1)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for temperature in (1.0, 0.5, 2.0):
        drawn = drawn_levels(every, uniform, temperature)
        wanted = (logs / temperature).softmax(0)
        assert torch.allclose(torch.bincount(drawn, minlength=5) / 1000, wanted.float(), atol=2e-3)
        assert (drawn.diff() >= 0).all()
        assert (drawn_levels(every - 50, uniform, temperature) == drawn).all()
    assert (drawn_levels(every, uniform, 0) == 3).all()


def test_certainty_costs_nothing_and_no_gradient_overflows():
    for levels in (2, 17, 256):
        numbers = torch.zeros(levels, mixture_numbers(1, 1), requires_grad=True)
        x = torch.arange(levels) * 2 / (levels - 1) - 1
        sure = torch.stack([torch.zeros(levels), x, torch.full((levels,), -100.0)], dim=1)
        bits = -pixel_mixture(sure, 1, 1, levels).log_probability(x[:, None]) / math.log(2)
        assert bits.max() < 5e-5
        wrong = pixel_mixture(sure.flip(0) + numbers, 1, 1, levels).log_probability(x[:, None])
        wrong.sum().backward()
        assert wrong.isfinite().all()
        assert numbers.grad.isfinite().all()
