"""From data, machine and budget to a recipe: what someone who only has pictures and an hour should train."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import torch

from unstir.data.pictures import Pictures
from unstir.models.consistency import Consistency
from unstir.models.diffusion import Diffusion, Sampling
from unstir.models.pixels import to_model
from unstir.models.process_group import process_group
from unstir.nn.unet import UNetConfig
from unstir.train.config import TrainConfig
from unstir.train.distributed import any_process
from unstir.train.ema import Average, trainable
from unstir.train.loop import M, Run
from unstir.train.optim import Optimiser
from unstir.train.recipe import Recipe
from unstir.train.samples import draw
from unstir.train.validation import held_back, validation


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


def choose_size(size: str | None, budget: float, on_gpu: bool) -> str:
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
            images=1,
            batch_size=batch_size(size.batch_size, pictures),
            adamw_lr=size.adamw_lr,
            **validation_settings(pictures),
        ),
        prompts=tuple(sample_prompts(pictures)),
        text_width=size.text_width,
        text_depth=size.text_depth,
        sigma_data=data_std(pictures),
    )


def recipe_from(start: Diffusion, sampling: Sampling, pictures: Pictures) -> Recipe:
    """A recipe to go on from a model with these pictures, gently; its number of images is still to be measured."""
    config = start.config
    return Recipe(
        network=config.network,
        train=TrainConfig(
            images=1, batch_size=batch_size(64, pictures), muon_lr=5e-3, adamw_lr=3e-4, **validation_settings(pictures)
        ),
        prompts=tuple(sample_prompts(pictures)),
        sampling=sampling,
        text_width=config.text.width,
        text_depth=config.text.depth,
        sigma_data=config.sigma_data,
        t_mean=config.t_mean,
        t_std=config.t_std,
    )


def batch_size(largest: int, pictures: Pictures) -> int:
    """A quarter of the pictures if there are few, 16 at least; a number that all processes can share."""
    size = min(largest, max(16, len(pictures) // 4))
    return max(1, size // process_group().size) * process_group().size


class ValidationSettings(TypedDict):
    """Settings of a run by which it is measured."""

    validation: int
    best: str


def validation_settings(pictures: Pictures, best: str = "least validation") -> ValidationSettings:
    """One picture in twenty is held back to measure by, 64 at most; none of a few hundred, which would be missed."""
    held = min(64, len(pictures) // 20) if len(pictures) >= 400 else 0
    return {"validation": held, "best": best if held else ""}


def sample_prompts(pictures: Pictures, count: int = 16) -> Sequence[str]:
    """Captions for the sample grid, spread evenly over the set, each different."""
    distinct = list(dict.fromkeys(ways[0] for ways in pictures.captions))
    stride = max(1, len(distinct) // count)
    return distinct[::stride][:count]


def data_std(pictures: Pictures) -> float:
    """Standard deviation of the pictures as models see them, from at most 512 of them, to two digits."""
    stride = max(1, len(pictures) // 512)
    sample = to_model(torch.from_numpy(pictures.pixels[::stride][:512].copy()))
    return max(0.05, round(sample.std().item(), 2))


def measured_rate(run: Run[M], seconds: float = 6.0) -> float:
    """Pictures a second that this run trains at: a few real steps, after which the run is as it was before.

    The median of the steps, after two that warm up (and compile). Several processes that train together take them
    together.
    """
    start_weights = {name: p.detach().clone() for name, p in trainable(run.model).items()}
    if run.config.compile:
        run.model.compile_loss()
    run.step()
    run.step()
    times: list[float] = []
    began = time.perf_counter()
    while any_process(len(times) < 3 or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        run.step()
        times.append(time.perf_counter() - start)
    with torch.no_grad():
        for name, parameter in trainable(run.model).items():
            parameter.copy_(start_weights[name])
    run.optimisers = {name: Optimiser(part, run.config) for name, part in run.model.parts().items()}
    run.average = Average(run.model, run.config.ema)
    run.images_seen, run.loss_count = 0, 0
    run.loss_sum.zero_()
    return run.config.batch_size / statistics.median(times)


def evaluation_seconds(run: Run[Any], prompts: Sequence[str], sampling: Sampling) -> float:
    """How long measures and a sample grid take on this machine, the grid from one of its pictures."""
    start = time.perf_counter()
    validation(run.model, held_back(run.pictures, run.config), run.config.batch_size)
    measured = time.perf_counter() - start
    model = run.model.student if isinstance(run.model, Consistency) else run.model
    if not isinstance(model, Diffusion):
        return measured
    start = time.perf_counter()
    draw(model, prompts[:1], [0], sampling)
    return measured + (time.perf_counter() - start) * len(prompts)


def split_budget(seconds: float, look: float) -> tuple[int, float]:
    """How the time left is spent: the number of looks after the first, 1 to 10, and the seconds for steps.

    All looks but two (at the beginning and at the end) together take a tenth at most.  look: seconds for one.
    """
    looks = min(10, 1 + int(0.1 * max(seconds, 0.0) / max(look, 1e-3)))
    return looks, max(0.0, seconds * RESERVE - (looks + 1) * look)


def with_images(config: TrainConfig, images: int, looks: int = 10) -> TrainConfig:
    """The schedule for this many pictures: a short warm-up, this many looks, thirty checkpoints."""
    images = max(config.batch_size, images // config.batch_size * config.batch_size)
    return replace(
        config,
        images=images,
        warmup=min(6_400, images // 10),
        sample_every=max(config.batch_size, math.ceil(images / looks)),
        save_every=max(config.batch_size, images // 30),
        log_every=max(config.batch_size, images // 200),
    )
