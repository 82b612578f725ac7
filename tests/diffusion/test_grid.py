import itertools
import math

import pytest
import torch

from unstir.diffusion.grid import SPACINGS, time_grid
from unstir.diffusion.schedule import (
    SCHEDULES,
    Cosine,
    Flow,
    LinearBeta,
    VarianceExploding,
    logsnr,
    named_schedule,
)


def ratios(schedule, grid):
    return torch.exp(-logsnr(schedule, torch.tensor(grid, dtype=torch.float64)) / 2).tolist()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 24, 1000])
def test_falls_from_exactly_1_to_exactly_0(name, spacing, steps):
    grid = time_grid(named_schedule(name), steps, spacing)
    assert len(grid) == steps + 1
    assert grid[0] == 1.0
    assert grid[-1] == 0.0
    assert all(s < t for t, s in itertools.pairwise(grid))


def test_uniform():
    assert time_grid(Cosine(), 4) == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("schedule", [VarianceExploding(0.001, 100), Flow(), Cosine()])
def test_karras_is_the_formula_of_edm(schedule):
    steps, rho, low, high = 18, 7, 0.002, 80
    expected = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    grid = time_grid(schedule, steps, "karras")
    # The first time is pinned to 1, wherever that is on the schedule.
    assert ratios(schedule, grid)[1:-1] == pytest.approx(expected[1:], rel=1e-10)


def test_karras_on_edms_own_range():
    schedule = VarianceExploding()
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    # Within 0.11 %: the last noisy time stays just above t = 0, which is the picture itself.
    assert ratios(schedule, time_grid(schedule, 18, "karras"))[:-1] == pytest.approx(expected, rel=1.1e-3)


@pytest.mark.parametrize("schedule", [VarianceExploding(0.001, 100), Flow(), Cosine()])
def test_logsnr_is_uniform_in_log_ratio(schedule):
    got = ratios(schedule, time_grid(schedule, 11, "logsnr"))[1:-1]
    expected = [80 * (0.002 / 80) ** (i / 10) for i in range(1, 11)]
    assert got == pytest.approx(expected, rel=1e-10)


def test_a_schedule_that_reaches_less_far_is_used_as_far_as_it_reaches():
    schedule = LinearBeta(0.1, 5)
    got = ratios(schedule, time_grid(schedule, 9, "logsnr"))
    most, least = ratios(schedule, [1.0, 1e-4])
    assert got[:-1] == pytest.approx([most * (least / most) ** (i / 8) for i in range(9)], rel=1e-9)


@pytest.mark.parametrize("shift", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 7, 28])
def test_shift_on_flow_is_that_of_sd3(shift, steps):
    expected = [shift * t / (1 + (shift - 1) * t) for t in time_grid(Flow(), steps)]
    assert time_grid(Flow(), steps, shift=shift) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_shift_multiplies_the_noise(spacing):
    schedule = Cosine()
    plain, shifted = (ratios(schedule, time_grid(schedule, 12, spacing, shift=shift)) for shift in (1.0, 2.5))
    assert shifted[1:-1] == pytest.approx([2.5 * ratio for ratio in plain[1:-1]], rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": -3},
        {"steps": 5, "spacing": "linear"},
        {"steps": 5, "shift": 0.0},
        {"steps": 5, "shift": -1.0},
        {"steps": 5, "shift": math.inf},
        {"steps": 5, "shift": math.nan},
        {"steps": 5, "spacing": "karras", "sigma_min": 90.0},
    ],
)
def test_bad_input_raises(options):
    with pytest.raises(ValueError):
        time_grid(Flow(), **options)


def test_a_shift_beyond_the_end_of_the_schedule_raises():
    """Twice the noise of t = 0.96 is more than t = 1 has: two times would fall together."""
    with pytest.raises(ValueError, match="do not fall"):
        time_grid(VarianceExploding(), 24, shift=2.0)
