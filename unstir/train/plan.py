"""From data, machine and budget to a recipe: what someone who only has pictures and an hour should train."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from unstir.data.pictures import Pictures
from unstir.models.diffusion import Diffusion, Sampling
from unstir.nn.start import initialise
from unstir.nn.unet import UNetConfig
from unstir.train.config import TrainConfig
from unstir.train.ema import Average
from unstir.train.loop import Run
from unstir.train.optim import Optimiser
from unstir.train.recipe import Recipe
from unstir.train.samples import draw


@dataclass(frozen=True)
class Size:
    """widths: channels of the U-Net, fine to coarse.  text_*: of the encoder.  batch_size, adamw_lr: that suit it."""

    widths: tuple[int, ...]
    text_width: int
    text_depth: int
    batch_size: int
    adamw_lr: float


SIZES = {
    "s": Size((32, 64, 128), 128, 1, 32, 2e-3),
    "m": Size((64, 128, 256), 256, 2, 64, 1e-3),
    "l": Size((128, 256, 512), 256, 2, 64, 1e-3),
}
"""About 3, 13 and 42 million parameters. U-Nets, because one beat a transformer of equal cost (docs/log.md)."""

RESERVE = 0.9
"""Share of the time left that is planned; the rest is for checkpoints and a slower hour."""


def picture_size(suggested: int, budget: float, on_gpu: bool) -> int:
    """Side of the pictures to train on: what the data has, but no more than the time allows. budget: seconds."""
    hours = budget / 3600
    steps = ((1, 64), (math.inf, 128)) if on_gpu else ((0.5, 32), (4, 48), (math.inf, 64))
    most = next(side for below, side in steps if hours < below)
    return max(32, min(suggested, most))


def dial(size: str | None, budget: float, on_gpu: bool) -> str:
    """The size letter: the one asked for, or one that the budget can train."""
    if size is not None:
        return size
    if on_gpu:
        return "m" if budget < 1800 else "l"
    return "s" if budget < 3600 else "m"


def network(side: int, channels: int, letter: str) -> UNetConfig:
    """A U-Net whose finest scale is 16 to 32 positions wide, whatever the size of the pictures."""
    return UNetConfig(
        side,
        channels,
        patch=2 if side <= 64 else 4,
        widths=SIZES[letter].widths,
        blocks=(1, 1, 2),
        words=SIZES[letter].text_width,
    )


def recipe_for(pictures: Pictures, letter: str) -> Recipe:
    """A recipe for these pictures; its number of images is still to be measured."""
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    size = SIZES[letter]
    return Recipe(
        network=network(side, channels, letter),
        train=TrainConfig(
            images=1, batch_size=min(size.batch_size, max(16, len(pictures) // 4)), adamw_lr=size.adamw_lr
        ),
        prompts=tuple(sample_prompts(pictures)),
        text_width=size.text_width,
        text_depth=size.text_depth,
        sigma_data=spread(pictures),
    )


def sample_prompts(pictures: Pictures, count: int = 16) -> Sequence[str]:
    """Captions for the sample grid, spread evenly over the set, each different."""
    distinct = list(dict.fromkeys(ways[0] for ways in pictures.captions))
    stride = max(1, len(distinct) // count)
    return distinct[::stride][:count]


def spread(pictures: Pictures) -> float:
    """Standard deviation of the pictures as models see them, from at most 512 of them, to two digits."""
    from unstir.models.pixels import to_model

    stride = max(1, len(pictures) // 512)
    sample = to_model(torch.from_numpy(pictures.pixels[::stride][:512].copy()))
    return max(0.05, round(sample.std().item(), 2))


def measured_rate(run: Run[Diffusion], seconds: float = 6.0) -> float:
    """Pictures a second that this run trains at: a few real steps, after which the run is as it was before.

    The median of the steps, after two that warm up (and compile).
    """
    if run.config.compile:
        run.model.compile_loss()
    run.step()
    run.step()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run.step()
        times.append(time.perf_counter() - start)
    initialise(run.model, run.config.seed)
    run.optimisers = {name: Optimiser(part, run.config) for name, part in run.model.parts().items()}
    run.average = Average(run.model, run.config.ema)
    run.images_seen, run.loss_count = 0, 0
    run.loss_sum.zero_()
    return run.config.batch_size / statistics.median(times)


def seconds_a_grid(model: Diffusion, prompts: Sequence[str], sampling: Sampling) -> float:
    """How long a sample grid takes on this machine, from one of its pictures."""
    start = time.perf_counter()
    draw(model, prompts[:1], [0], sampling)
    return (time.perf_counter() - start) * len(prompts)


def shares(seconds: float, grid: float) -> tuple[int, float]:
    """How the time left is spent: the number of sample grids after the first, 1 to 10, and the seconds for steps.

    All grids but two (at the beginning and at the end) together take a tenth at most.  grid: seconds for one.
    """
    grids = min(10, 1 + int(0.1 * max(seconds, 0.0) / grid))
    return grids, max(0.0, seconds * RESERVE - (grids + 1) * grid)


def with_images(config: TrainConfig, images: int, grids: int = 10) -> TrainConfig:
    """The schedule for this many pictures: a short warm-up, this many sample grids, thirty checkpoints."""
    images = max(config.batch_size, images // config.batch_size * config.batch_size)
    return replace(
        config,
        images=images,
        warmup=min(6_400, images // 10),
        sample_every=max(config.batch_size, math.ceil(images / grids)),
        save_every=max(config.batch_size, images // 30),
        log_every=max(config.batch_size, images // 200),
    )
