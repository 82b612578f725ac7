"""The generated pictures of an evaluation: drawn in batches, and saved as files as they come.

`unstir generate` draws one by one, which gives each picture the same bits whatever else is drawn, and takes several
times as long (docs/reproducible.md). Here prompts are denoised in batches. A batch always holds the same pictures in
the same order, so the same evaluation gives the same bits again, also after it was interrupted; against pictures drawn
one by one the network's numbers differ in their last bits, which changes hardly a pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unstir.errors import UserError
from unstir.evaluate.run.progress import StartStage, no_progress
from unstir.image.png import Pixels, load_pixels, read_request, save_png
from unstir.models.generative import GenerativeModel, NotFinite, final
from unstir.settings import Settings

DrawBatch = Callable[[Sequence[str], Sequence[int]], Pixels]
"""(prompts, seeds), of one length -> (B, S, S, C) uint8, straight alpha."""

BATCH = 32


def batch_drawer(model: GenerativeModel, settings: Settings | None = None) -> DrawBatch:
    """A `DrawBatch` of a model of any kind, all prompts of a call in one batch.

    The functions that it returns raise UserError where the pictures are not finite.
    """

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Pixels:
        try:
            return final(model.draw(prompts, seeds, settings, exact=False))
        except NotFinite as error:
            raise UserError(f"the pictures are not finite with these settings: {error}") from None

    return draw


def check_captions(model: GenerativeModel, captions: Sequence[str]) -> None:
    """Raise UserError, before anything is drawn, for a caption that is too long for the model."""
    try:
        model.check_prompts(captions)
    except ValueError as error:
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
