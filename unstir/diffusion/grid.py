"""Time grids: at which times a sampler evaluates the denoiser. Separate from the schedule and from the sampler.

A grid of n steps is n + 1 times, falling from exactly 1 (noise) to exactly 0 (picture).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from unstir.diffusion.schedule import NoiseSchedule, logsnr

SPACINGS = ("uniform", "logsnr", "karras")
MAX_STEPS = 10_000


def time_grid(
    schedule: NoiseSchedule,
    steps: int,
    spacing: str = "uniform",
    *,
    shift: float = 1.0,
    rho: float = 7.0,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> list[float]:
    """The steps + 1 times from 1 to 0.

    steps: 1 to MAX_STEPS.
    spacing: "uniform" in t; "logsnr", uniform in log signal-to-noise; "karras", uniform in (sigma/alpha)^(1/rho). The
        last two run between sigma/alpha = sigma_max and sigma_min, as far as the schedule reaches, and the first and
        last time are set to 1 and 0.
    shift: multiplies sigma/alpha at every time; larger pictures need more noise to hide the same content. 1 = off.
    rho: of "karras".
    sigma_min, sigma_max: range of "logsnr" and "karras".
    Raises ValueError for steps out of range, an unknown spacing, a shift that is not positive, or a grid that does not
    fall strictly.
    Source: Karras et al. 2022, eq. 5 ("karras"); Esser et al. 2024, eq. 23, and Hoogeboom et al. 2023 (shift).
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be 1 to {MAX_STEPS}, got {steps}")
    if not (shift > 0 and math.isfinite(shift)):
        raise ValueError(f"shift must be a positive number, got {shift}")
    match spacing:
        case "uniform":
            t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        case "logsnr" | "karras":
            t = _by_noise(schedule, steps, spacing, rho, sigma_min, sigma_max)
        case _:
            raise ValueError(f"there is no spacing {spacing!r}; there are: {', '.join(SPACINGS)}")
    if shift != 1.0:
        t = schedule.t_of_logsnr(logsnr(schedule, t) - 2 * math.log(shift))
    grid: list[float] = t.tolist()
    grid[0], grid[-1] = 1.0, 0.0
    if any(s >= t for t, s in pairwise(grid)):
        raise ValueError(f"{steps} steps spaced by {spacing} with shift {shift} do not fall from 1 to 0; take fewer")
    return grid


def _by_noise(
    schedule: NoiseSchedule, steps: int, spacing: str, rho: float, sigma_min: float, sigma_max: float
) -> Tensor:
    """Times whose noise-to-signal ratio runs from sigma_max to sigma_min in n points, then 0."""
    # Just above 0, which is the picture: a schedule whose sigma(0) is sigma_min would otherwise reach it twice.
    ends = torch.tensor([1.0, 1e-4], dtype=torch.float64)
    most, least = torch.exp(-logsnr(schedule, ends) / 2).tolist()
    most, least = min(sigma_max, most), max(sigma_min, least)
    u = torch.linspace(0, 1, steps, dtype=torch.float64)
    if spacing == "logsnr":
        ratio = torch.exp(math.log(most) + u * math.log(least / most))
    else:
        ratio = (most ** (1 / rho) + u * (least ** (1 / rho) - most ** (1 / rho))) ** rho
    return torch.cat([schedule.t_of_logsnr(-2 * ratio.log()), torch.zeros(1, dtype=torch.float64)])
