"""The pictures that are judged: drawn in batches, and kept as files as they come.

Drawing one by one, as `unstir generate` does, gives each picture the same bits in whatever company it is drawn, and
takes several times as long (docs/reproducible.md). Here prompts are denoised together. A batch is always the same
pictures, in the same places: the same evaluation gives the same bits again, also after it was stopped in between, and
what the company changes is in the last bits of the network's numbers, which is to say hardly a pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import clip_range, dynamic_threshold, guide
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.sampler import levels_of, named_sampler
from unstir.errors import UserError
from unstir.evaluate.stages import Stages, silent
from unstir.image.png import load_pixels, read_request, save_png
from unstir.models.diffusion import Diffusion, Sampling
from unstir.models.pixels import to_pixels
from unstir.text.tokenizer import TooLong

Pixels: TypeAlias = npt.NDArray[np.uint8]

Draw = Callable[[Sequence[str], Sequence[int]], Pixels]
"""(prompts, seeds), of one length -> (B, S, S, C) uint8, straight alpha."""

BATCH = 32


def batch_drawer(model: Diffusion, sampling: Sampling) -> Draw:
    """A `Draw` of a diffusion model, all prompts of a call together. Raises ValueError for settings that do not fit."""
    return drawer(model, sampling, together(model, sampling))


def drawer(model: Diffusion, sampling: Sampling, denoise: Denoiser) -> Draw:
    """A `Draw` with a denoiser of one's own; of `sampling` the steps, the sampler and the grid count."""
    sampler = named_sampler(sampling.sampler)
    grid = time_grid(model.schedule, sampling.steps, sampling.spacing, shift=sampling.shift)
    levels = levels_of(model.schedule, grid)

    @torch.no_grad()
    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Pixels:
        def noise(step: int) -> torch.Tensor:
            return batch_normal(model.shape, seeds, step).to(model.device)

        start = noise(0) * levels[0].sigma
        *_, last = sampler(denoise, start, model.encode(prompts), levels, noise)
        if not last.x0.isfinite().all():
            raise UserError("the model gives no picture any more with these settings: lower the guidance")
        pixels: Pixels = to_pixels(last.x0).cpu().numpy()
        return pixels

    return draw


def together(model: Diffusion, sampling: Sampling) -> Denoiser:
    """The denoiser of `Diffusion.guided` without a negative prompt, but for a whole batch in one call."""
    null = model.encode([""])
    denoise = guide(
        model.denoiser(),
        null,
        sampling.guidance_scale,
        interval=sampling.interval,
        join=lambda words, nothing: words.join(nothing.repeat(len(words.tokens))),
    )
    return clip_range(denoise) if sampling.threshold == 1 else dynamic_threshold(denoise, sampling.threshold)


def check_prompts(model: Diffusion, prompts: Sequence[str]) -> None:
    """Raise UserError, before anything is drawn, for a prompt that the model cannot read."""
    try:
        for prompt in prompts:
            model.tokenize([prompt])
    except TooLong as error:
        raise UserError(f"one of the captions is too long for the model: {error}") from None


def drawn(
    draw: Draw,
    prompts: Sequence[str],
    seeds: Sequence[int],
    request: Mapping[str, object] | None = None,
    folder: Path | None = None,
    stages: Stages = silent,
    batch: int = BATCH,
) -> Pixels:
    """(N, S, S, C): picture i is of prompts[i] and seeds[i], drawn in batches of `batch`.

    request: what else decides what a picture looks like (model, settings); it goes into every file.
    folder: keeps picture i as a PNG with its request. Batches that are there whole, of the same request, are read.
    Raises ValueError for no prompts, or not as many seeds.
    """
    if not prompts or len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds; one of each is needed at least")
    batches = []
    with stages("drawing pictures", len(prompts)) as told:
        for start in range(0, len(prompts), batch):
            rows = range(start, min(start + batch, len(prompts)))
            asked = [
                {**(request or {}), "prompt": prompts[i], "seed": seeds[i], "batch": [i - start, len(rows)]}
                for i in rows
            ]
            paths = [] if folder is None else [folder / f"{i:06d}.png" for i in rows]
            pixels = _kept(paths, asked)
            if pixels is None:
                pixels = draw([prompts[i] for i in rows], [seeds[i] for i in rows])
                for path, one, what in zip(paths, pixels, asked, strict=False):
                    save_png(path, one, what)
            batches.append(pixels)
            told(rows.stop)
    return np.concatenate(batches)


def _kept(paths: Sequence[Path], asked: Sequence[Mapping[str, object]]) -> Pixels | None:
    """The pictures of a batch, if every file is there and is what is asked for."""
    try:
        if paths and all(read_request(path) == what for path, what in zip(paths, asked, strict=True)):
            return np.stack([load_pixels(path) for path in paths])
    except (UserError, ValueError):
        pass  # missing, damaged, or of different sizes: drawn anew
    return None
