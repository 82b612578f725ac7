"""Previews of a run while it trains: the same prompts and seeds, or the same pictures, every time."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.clip import Clip
from unstir.models.generative import GenerativeModel, final
from unstir.train.kinds import Preview, held_out_pictures, training
from unstir.train.run import Run
from unstir.train.run_file import RunFile
from unstir.train.validation import embeddings

MAX_PICTURES = 16
"""Pictures in the preview of a CLIP."""

COLUMNS = 8


def save_preview(run: Run[Any], run_file: RunFile) -> None:
    """Write the preview of the run's averaged weights to RUN/samples/<images seen>.png."""
    held = held_out_pictures(run.pictures, run.config)
    preview = Preview(run_file.prompts, run_file.settings, held if len(held) else run.pictures)
    with run.evaluating() as model:
        page = training(run.kind).preview(model, preview)
    save_png(Path(run.folder) / "samples" / f"{run.images_seen:09d}.png", page)


def sample_grid(model: GenerativeModel, preview: Preview) -> NDArray[np.uint8]:
    """A contact sheet of drawn pictures; picture i has prompt i and seed i."""
    prompts = list(preview.prompts)
    pictures = list(final(model.draw(prompts, range(len(prompts)), preview.settings)))
    scale = max(1, 96 // model.shape[-1])
    return sheet(pictures, columns=COLUMNS, captions=prompts, scale=scale, background="checker")


@torch.no_grad()
def nearest_captions(model: Clip, preview: Preview) -> NDArray[np.uint8]:
    """A contact sheet of pictures, each with the most similar of all their captions below it, and the cosine."""
    shown = _evenly_spaced(preview.pictures)
    pictures, captions, words = embeddings(model, shown, len(shown))
    best = (pictures @ words.T).max(1)
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    labels = [f"{captions[caption]} {cosine:.2f}" for caption, cosine in found]
    scale = max(1, 96 // shown.pixels.shape[1])
    return sheet(list(shown.pixels), columns=COLUMNS, captions=labels, scale=scale, background="checker")


def _evenly_spaced(pictures: Pictures) -> Pictures:
    """At most MAX_PICTURES of them, evenly spaced."""
    return pictures.take(list(range(0, len(pictures), max(1, len(pictures) // MAX_PICTURES)))[:MAX_PICTURES])
