"""What a run shows while it trains: always the same prompts and seeds, or pictures, so that one can watch it learn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.clip import Clip
from unstir.models.consistency import Consistency
from unstir.models.diffusion import Diffusion, Sampling
from unstir.models.pixels import to_pixels
from unstir.train.loop import M, Run
from unstir.train.validation import held_back, vectors

SHOWN = 16
"""Pictures whose names a CLIP is asked for."""


@contextmanager
def averaged(run: Run[M]) -> Iterator[M]:
    """The run's model with the averaged weights in place of its own, for the length of the block."""
    with run.average.lent(run.model):
        yield run.model


def draw(model: Diffusion, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> list[np.ndarray]:
    """One picture for each prompt and seed, uint8 (S, S, C)."""
    *_, last = model.sample(model.shape, model.encode(prompts), seeds, sampling)
    return list(to_pixels(last.x0).cpu().numpy())


def sampler(prompts: Sequence[str], sampling: Sampling) -> Callable[[Run[Any]], None]:
    """A `sample` argument for `train`, whatever the run trains: `sampler_grid` or `name_sheet`."""
    grid = sampler_grid(prompts, sampling)

    def sample(run: Run[Any]) -> None:
        if isinstance(run.model, Clip):
            name_sheet(run)
        else:
            grid(run)

    return sample


def sampler_grid(prompts: Sequence[str], sampling: Sampling, columns: int = 8) -> Callable[[Run[Any]], None]:
    """A `sample` argument for `train`: writes RUN/samples/<pictures seen>.png with picture i of seed i.

    The run trains a model that draws, or tunes one.
    """

    def sample(run: Run[Any]) -> None:
        with averaged(run) as trained:
            model = trained.student if isinstance(trained, Consistency) else trained
            pictures = draw(model, prompts, range(len(prompts)), sampling)
        scale = max(1, 96 // model.shape[-1])
        _save(run, sheet(pictures, columns=columns, captions=list(prompts), scale=scale, background="checker"))

    return sample


@torch.no_grad()
def name_sheet(run: Run[Clip], columns: int = 8) -> None:
    """Write RUN/samples/<pictures seen>.png: pictures, and below each the caption that the model finds nearest to it.

    Pictures that were held back, or where there are none the first, choose among their own plain captions.
    """
    held = held_back(run.pictures, run.config)
    shown = _spread(held if len(held) else run.pictures)
    with averaged(run) as model:
        pictures, captions, words = vectors(model, shown, len(shown))
    cosines = pictures @ words.T
    best = cosines.max(1)
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    names = [f"{captions[caption]} {cosine:.2f}" for caption, cosine in found]
    scale = max(1, 96 // shown.pixels.shape[1])
    _save(run, sheet(list(shown.pixels), columns=columns, captions=names, scale=scale, background="checker"))


def _spread(pictures: Pictures) -> Pictures:
    """A few, spread evenly."""
    return pictures.take(list(range(0, len(pictures), max(1, len(pictures) // SHOWN)))[:SHOWN])


def _save(run: Run[Any], page: np.ndarray) -> None:
    save_png(Path(run.folder) / "samples" / f"{run.images_seen:09d}.png", page)
