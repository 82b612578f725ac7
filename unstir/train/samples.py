"""The sample grid of a run: the same prompts and seeds every time, so that one can watch a model learn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.diffusion import Diffusion, Sampling
from unstir.models.pixels import to_pixels
from unstir.train.loop import Run


@contextmanager
def averaged(run: Run[Diffusion]) -> Iterator[Diffusion]:
    """The run's model with the averaged weights in place of its own, for the length of the block."""
    own = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(run.average.weights[name])
    try:
        yield run.model
    finally:
        with torch.no_grad():
            for name, parameter in run.model.named_parameters():
                parameter.copy_(own[name])


def draw(model: Diffusion, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> list[np.ndarray]:
    """One picture for each prompt and seed, uint8 (S, S, C)."""
    *_, last = model.sample(model.shape, model.encode(prompts), seeds, sampling)
    return list(to_pixels(last.x0).cpu().numpy())


def sampler_grid(prompts: Sequence[str], sampling: Sampling, columns: int = 8) -> Callable[[Run[Diffusion]], None]:
    """A `sample` argument for `train`: writes RUN/samples/<pictures seen>.png with picture i of seed i."""

    def sample(run: Run[Diffusion]) -> None:
        with averaged(run) as model:
            pictures = draw(model, prompts, range(len(prompts)), sampling)
        scale = max(1, 96 // model.shape[-1])
        grid = sheet(pictures, columns=columns, captions=list(prompts), scale=scale, background="checker")
        save_png(Path(run.folder) / "samples" / f"{run.images_seen:09d}.png", grid)

    return sample
