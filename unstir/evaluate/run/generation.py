"""The generated pictures of an evaluation: drawn in batches, and saved as files as they come.

`unstir generate` draws one by one, which gives each picture the same bits whatever else is drawn, and takes several
times as long (docs/reproducible.md). Here prompts are denoised in batches. A batch always holds the same pictures in
the same order, so the same evaluation gives the same bits again, also after it was interrupted; against pictures drawn
one by one the network's numbers differ in their last bits, which changes hardly a pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import clip_range, dynamic_threshold, guide
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.sampler import levels_of, named_sampler
from unstir.errors import UserError
from unstir.evaluate.run.progress import StartStage, no_progress
from unstir.image.png import Pixels, load_pixels, read_request, save_png
from unstir.models.diffusion import Diffusion, Sampling
from unstir.models.pixels import to_pixels
from unstir.text.tokenizer import TooLong

DrawBatch = Callable[[Sequence[str], Sequence[int]], Pixels]
"""(prompts, seeds), of one length -> (B, S, S, C) uint8, straight alpha."""

BATCH = 32


def batch_drawer(model: Diffusion, sampling: Sampling) -> DrawBatch:
    """A `DrawBatch` of a diffusion model, all prompts of a call in one batch.

    Raises ValueError for settings that do not fit.
    """
    return drawer(model, sampling, together(model, sampling))


def drawer(model: Diffusion, sampling: Sampling, denoise: Denoiser) -> DrawBatch:
    """A `DrawBatch` with a given denoiser; of `sampling` the steps, the sampler and the time grid count."""
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
            raise UserError("the pictures are not finite with these settings: lower the guidance")
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
    """Raise UserError, before anything is drawn, for a prompt that is too long for the model."""
    try:
        for prompt in prompts:
            model.tokenize([prompt])
    except TooLong as error:
        raise UserError(f"one of the captions is too long for the model: {error}") from None


def draw_pictures(
    draw: DrawBatch,
    prompts: Sequence[str],
    seeds: Sequence[int],
    request: Mapping[str, object] | None = None,
    folder: Path | None = None,
    stage: StartStage = no_progress,
    batch: int = BATCH,
) -> Pixels:
    """(N, S, S, C): picture i is of prompts[i] and seeds[i], drawn in batches of `batch`.

    request: what else decides what a picture looks like (model, settings); it is saved in every file.
    folder: saves picture i as a PNG with its request. Batches that are there complete, of the same request, are read.
    Raises ValueError for no prompts, or not as many seeds.
    """
    if not prompts or len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds; one of each is needed at least")
    batches = []
    with stage("drawing pictures", len(prompts)) as advance:
        for start in range(0, len(prompts), batch):
            rows = range(start, min(start + batch, len(prompts)))
            requests = [
                {**(request or {}), "prompt": prompts[i], "seed": seeds[i], "batch": [i - start, len(rows)]}
                for i in rows
            ]
            paths = [] if folder is None else [folder / f"{i:06d}.png" for i in rows]
            pixels = _saved(paths, requests)
            if pixels is None:
                pixels = draw([prompts[i] for i in rows], [seeds[i] for i in rows])
                for path, picture, its_request in zip(paths, pixels, requests, strict=False):
                    save_png(path, picture, its_request)
            batches.append(pixels)
            advance(rows.stop)
    return np.concatenate(batches)


def _saved(paths: Sequence[Path], requests: Sequence[Mapping[str, object]]) -> Pixels | None:
    """The pictures of a batch, if every file is there with its request."""
    try:
        if paths and all(read_request(path) == request for path, request in zip(paths, requests, strict=True)):
            return np.stack([load_pixels(path) for path in paths])
    except (UserError, ValueError):
        pass  # missing, damaged, or of different sizes: drawn again
    return None
