"""Drawing many pictures with one model, in batches."""

from collections.abc import Callable, Sequence

import numpy as np

from unstir.diffusion.denoiser import Denoiser
from unstir.models.diffusion import Diffusion
from unstir.models.generative import Pixels, final
from unstir.settings import DiffusionSettings

BATCH = 32


def draw_batches(
    model: Diffusion,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: DiffusionSettings,
    wrap: Callable[[Denoiser], Denoiser] | None = None,
) -> Pixels:
    """Draw picture i with prompts[i] and seeds[i].

    wrap: as in `Diffusion.sample`.
    Returns (N, S, S, C) uint8.
    """
    parts = []
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        parts.append(final(model.draw(prompts[part], seeds[part], settings, exact=False, wrap=wrap)))
    return np.concatenate(parts)
