"""The score of points in a plane: its field, and the ways along it from noise to data and back.

Writes OUT/score_field.png, OUT/score_paths.png and OUT/score_corrector.png.
Needs matplotlib: pip install 'unstir[eval]'.

    python examples/score_field.py docs
"""

import math
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unstir.diffusion.denoiser import Denoiser, NetworkDenoiser, full_time, mixture_denoiser, noised
from unstir.diffusion.grid import time_grid
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.ode import flow_to_noise, flow_to_picture, log_likelihood
from unstir.diffusion.prediction import Prediction, score
from unstir.diffusion.sampler import Step, levels_of
from unstir.diffusion.samplers.ddim import ddim
from unstir.diffusion.samplers.ddpm import ddpm
from unstir.diffusion.samplers.pc import pc
from unstir.diffusion.schedule import LinearBeta, NoiseSchedule
from unstir.image.png import save_png
from unstir.nn.embed import sinusoids

SCHEDULE = LinearBeta()
MEANS = torch.tensor([[1.2, 0.2], [0.2, 1.2], [-1.1, 0.5], [-0.5, -1.0], [0.7, -0.9]], dtype=torch.float64)
STD = 0.13
WEIGHTS = torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15], dtype=torch.float64)
EXACT = mixture_denoiser(MEANS, STD, WEIGHTS, SCHEDULE)

TIMES = (0.05, 0.2, 0.5)
"""Of the score fields."""

EDGE = 2.2
INK, COOL, WARM = "#30343f", "#2d6cdf", "#f46036"


def data(count: int, generator: torch.Generator) -> Tensor:
    """Points of the mixture, (count, 2)."""
    which = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[which] + STD * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def log_density(x: Tensor, t: float) -> Tensor:
    """The logarithm of the density of noisy points at time t. x: (N, 2).  Returns (N,)."""
    level = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = SCHEDULE.alpha(level), SCHEDULE.sigma(level)
    std = ((alpha * STD) ** 2 + sigma**2).sqrt()
    parts = torch.distributions.Normal(alpha * MEANS, std).log_prob(x[:, None]).sum(-1)
    return torch.logsumexp(parts + WEIGHTS.log(), 1)


def grid(count: int) -> Tensor:
    """Points on a square grid, (count², 2)."""
    line = torch.linspace(-EDGE, EDGE, count, dtype=torch.float64)
    return torch.cartesian_prod(line, line)


class Perceptron(nn.Module):
    """A network for points: (x (B, 2), level (B,), nothing) -> (B, 2)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, level: Tensor, _cond: Any) -> Tensor:
        out: Tensor = self.layers(torch.cat([x.float(), sinusoids(level, 32)], dim=1))
        return out


def learned(steps: int = 3000, schedule: NoiseSchedule = SCHEDULE) -> Denoiser:
    """A denoiser that has seen noisy points only, and never the score: it is trained to undo the noise."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Perceptron()
    denoise = NetworkDenoiser(network, schedule, Prediction("edm", 0.9), (-12.0, 8.0))
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x0 = data(256, generator).float()
        t = 0.01 + 0.99 * torch.rand(256, generator=generator)
        eps = torch.randn(256, 2, generator=generator)
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        error = (denoise(noised(x0, eps, t, schedule), t, None) - x0) * alpha / sigma
        optimiser.zero_grad()
        error.square().mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()

    @torch.no_grad()
    def without_gradients(xt: Tensor, t: Tensor, cond: Any) -> Tensor:
        return denoise(xt.float(), t, cond).double()

    return without_gradients


def draw_figure(path: Path, columns: int, rows: int, fill: Callable[[Any], None], width: float = 3.1) -> None:
    """Write a figure of panels. fill: draws into the array of axes (rows, columns).  width: of a panel in inches."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width * columns, 3.1 * rows + 0.3), 110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), xticks=[], yticks=[])
        panel.spines[:].set_color("#cccccc")
        if width == 3.1:
            panel.set_aspect("equal")
    fill(panels)
    canvas.draw()
    save_png(path, np.asarray(canvas.buffer_rgba())[..., :3].copy())


def shade(panel: Any, t: float, count: int = 160) -> None:
    """Shade the density of noisy points at time t."""
    density = log_density(grid(count), t).exp().view(count, count).T.numpy()
    ends = (-EDGE, EDGE, -EDGE, EDGE)
    panel.imshow(density, extent=ends, origin="lower", cmap="Blues", alpha=0.75, vmax=1.1 * density.max())


def fields(panels: Any, denoisers: list[tuple[str, Denoiser]]) -> None:
    """The score at TIMES: a row for each denoiser. Arrows are scaled by sigma, as the noise itself would be."""
    points = grid(19)
    for row, (name, denoise) in zip(panels, denoisers, strict=True):
        for panel, t in zip(row, TIMES, strict=True):
            level, _ = levels_of(SCHEDULE, [t, 0.0])
            shade(panel, t)
            x0 = denoise(points, full_time(t, points), None)
            found = level.sigma * score(x0, points, level.alpha, level.sigma)
            length = found.norm(dim=1, keepdim=True)
            arrows = found / length * torch.tanh(length / 2)
            panel.quiver(*points.T.numpy(), *arrows.T.numpy(), color=INK, scale=18, width=0.005, pivot="tail")
            panel.set_title(f"{name}, t = {t:g}, noise {level.sigma:.2f}", fontsize=10, color=INK)


def paths(panels: Any, count: int = 9, steps: int = 500) -> None:
    """Numbers instead of points, over time: reverse SDE and probability flow from the same noise to the data."""
    means = torch.tensor([[-1.2], [0.1], [1.3]], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.25, 0.45], dtype=torch.float64)
    denoise = mixture_denoiser(means, STD, weights, SCHEDULE)
    levels = levels_of(SCHEDULE, time_grid(SCHEDULE, steps))
    lines = torch.linspace(-EDGE * 1.3, EDGE * 1.3, 300, dtype=torch.float64)
    columns = []
    for level in levels:
        std = math.hypot(level.alpha * STD, level.sigma)
        parts = torch.distributions.Normal(level.alpha * means, std).log_prob(lines).exp()
        column = (weights[:, None] * parts).sum(0)
        columns.append((column / column.max()).sqrt())
    density = torch.stack(columns, 1).numpy()

    def noise(step: int) -> Tensor:
        return batch_normal((count, 1), [3], step)[0].double()

    start = 1.9 * torch.linspace(-1, 1, count, dtype=torch.float64)[:, None]
    times = [level.t for level in levels[:-1]]
    samplers = {"reverse SDE": ddpm, "probability flow (ODE)": ddim}
    for panel, (name, sampler) in zip(panels[0], samplers.items(), strict=True):
        panel.imshow(
            density, extent=(1, 0, lines[0], lines[-1]), origin="lower", aspect="auto", cmap="Blues", alpha=0.7
        )
        way = torch.cat([step.xt for step in sampler(denoise, start, None, levels, noise)], 1).numpy()
        for one in way:
            panel.plot(times, one, color=INK, linewidth=0.8)
        panel.plot([0] * count, way[:, -1], "o", color=WARM, markersize=3.5, clip_on=False, zorder=3)
        panel.set(xlim=(1, 0), ylim=(-EDGE * 1.3, EDGE * 1.3), xticks=(0.75, 0.5, 0.25))
        panel.set_xlabel("t: 1 is noise, 0 is data", fontsize=9, color=INK)
        panel.set_title(name, fontsize=10, color=INK)


def corrected(panels: Any, intervals: int = 12, count: int = 800) -> None:
    """Few steps of the predictor alone, with a corrector, and the way of one point with it.

    All points are one picture here: the corrector's step size is a ratio of norms, which says little of two numbers.
    """

    def noise(step: int) -> Tensor:
        return batch_normal((count, 2), [1], step).double()

    many = partial(pc, corrector_steps=4, corrector_snr=0.3)
    ways: list[list[Step]] = []
    for panel, (name, sampler, n) in zip(
        panels.flat,
        [
            ("predictor alone", ddpm, intervals),
            ("predictor alone", ddpm, 5 * intervals - 4),
            ("4 corrector steps each", many, intervals),
        ],
        strict=False,
    ):
        levels = levels_of(SCHEDULE, time_grid(SCHEDULE, n, "logsnr", sigma_min=0.03))
        shade(panel, 0.001)
        ways.append(list(sampler(EXACT, noise(0), None, levels, noise)))
        points = ways[-1][-1].x0[0]
        panel.plot(*points.T.numpy(), "o", color=WARM, markersize=1.5, alpha=0.7)
        panel.set_title(f"{n} intervals, {name}", fontsize=10, color=INK)
        print(f"{n} intervals, {name}: {outside(points):.1%} farther than 3 deviations from all means; data 1.1 %")
    panel, way = panels[-1, -1], torch.cat([step.xt for step in ways[-1]])
    shade(panel, 0.001)
    shown = int(way.abs().amax((0, 2)).argmin())  # one that stays inside
    for (before, after), ends in zip(pairwise(ways[-1]), pairwise(way[:, shown]), strict=True):
        panel.plot(*torch.stack(ends).T.numpy(), color=COOL if after.t < before.t else WARM, linewidth=1.4)
    panel.plot(*way[0, shown].numpy(), "o", color=INK, markersize=4)
    panel.set_title("one point: predictor blue, corrector orange", fontsize=10, color=INK)


def outside(points: Tensor) -> float:
    """The fraction of points farther from all means than three deviations."""
    return (torch.cdist(points, MEANS).amin(1) > 3 * STD).double().mean().item()


def main(out: Path, training: int = 3000) -> None:
    network = learned(training)
    rows = [("exact", EXACT), ("learned", network)]
    draw_figure(out / "score_field.png", 3, 2, lambda panels: fields(panels, rows))
    draw_figure(out / "score_paths.png", 2, 1, paths, width=4.7)
    draw_figure(out / "score_corrector.png", 2, 2, corrected)
    x0 = data(200, torch.Generator().manual_seed(1))
    found = log_likelihood(EXACT, x0, SCHEDULE, None, None)
    print(f"log-likelihood by the ODE: off by {(found - log_density(x0, 0.0)).abs().mean():.4f} nats in the mean")
    there = flow_to_noise(EXACT, x0, SCHEDULE, None)
    back = flow_to_picture(EXACT, there, SCHEDULE, None)
    print(f"to the noise and back: off by {(back - x0).abs().max():.1e} at most")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/score_field.py OUT")
    main(Path(sys.argv[1]))
