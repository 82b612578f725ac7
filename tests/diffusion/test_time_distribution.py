"""The logit-normal distribution of training times against itself, the normal distribution and an integral."""

import math

import pytest
import torch

from unstir.diffusion.time_distribution import LogitNormal

SHAPES = [(0.0, 1.0), (0.4, 1.3), (-1.2, 0.5)]


def share_below(distribution, t):
    """P(T <= t) in closed form: the normal distribution function of the standardised logit."""
    return torch.special.ndtr((torch.logit(t) - distribution.mean) / distribution.std)


@pytest.mark.parametrize(("mean", "std"), SHAPES)
def test_quantile_is_the_inverse_of_the_distribution_function(mean, std):
    distribution = LogitNormal(mean, std)
    u = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    t = distribution.quantile(u)
    assert t.dtype == torch.float64
    assert (t.diff() > 0).all()
    torch.testing.assert_close(share_below(distribution, t), u, rtol=1e-12, atol=1e-12)
    assert distribution.quantile(torch.tensor(0.5)).item() == pytest.approx(1 / (1 + math.exp(-mean)))
    assert distribution.quantile(torch.tensor([0.0, 1.0])).tolist() == [0, 1]


@pytest.mark.parametrize(("mean", "std"), SHAPES)
def test_samples_have_the_distribution(mean, std):
    distribution = LogitNormal(mean, std)
    count = 100_000
    t = distribution.sample(count, torch.Generator().manual_seed(0)).double()
    # Kolmogorov and Smirnov's distance: 1e-4 of samples exceed 2.2/sqrt(n).
    shares = share_below(distribution, t.sort().values)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    assert max((shares - steps[:-1]).max(), (steps[1:] - shares).max()) < 2.2 / math.sqrt(count)
    # Mean and variance, by the quantiles: an integral over u.
    grid = distribution.quantile((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)
    assert t.mean().item() == pytest.approx(grid.mean().item(), abs=5 * grid.std().item() / math.sqrt(count))
    assert t.std().item() == pytest.approx(grid.std().item(), rel=0.02)


def test_samples_are_the_sigmoid_of_the_generators_normal_numbers():
    """To the bit: the batches of runs made before depend on it."""
    z = torch.randn(37, generator=torch.Generator().manual_seed(5))
    t = LogitNormal(0.4, 1.3).sample(37, torch.Generator().manual_seed(5))
    assert t.dtype == torch.float32
    assert torch.equal(t, torch.sigmoid(0.4 + 1.3 * z))


def test_processes_get_parts_of_one_sample():
    distribution = LogitNormal(0.4, 1.3)
    generators = [torch.Generator().manual_seed(5) for _ in range(3)]
    whole = distribution.sample(12, generators[0])
    parts = [
        distribution.sample(12, generators[1], slice(0, 6)),
        distribution.sample(12, generators[2], slice(6, 12)),
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    # And what is drawn next is the same everywhere.
    following = [torch.rand(2, generator=generator) for generator in generators]
    assert torch.equal(following[0], following[1])
    assert torch.equal(following[0], following[2])


def test_without_spread_every_time_is_the_median():
    distribution = LogitNormal(0.0, 0.0)
    assert (distribution.sample(5, torch.Generator().manual_seed(0)) == 0.5).all()


@pytest.mark.parametrize("std", [-0.1, math.nan])
def test_a_negative_deviation_raises_when_built(std):
    with pytest.raises(ValueError, match="standard deviation of training times"):
        LogitNormal(0.0, std)
