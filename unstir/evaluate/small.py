"""A few dozen pictures, quickly judged: what a training run can look at every so many pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unstir.data.pictures import Pictures
from unstir.evaluate.generation import batch_drawer
from unstir.evaluate.kernel import kernel
from unstir.evaluate.retrieval import clip_score
from unstir.evaluate.vectors import ClipVectors, scaled
from unstir.models.clip import Clip
from unstir.models.diffusion import Diffusion, Sampling


@dataclass(frozen=True)
class Small:
    """clip_score: of the pictures drawn.  ceiling: of the real ones.  kernel: distance between the two sets.

    From so few pictures both are noisy, but with one set of rows and seeds they can be compared along a run. The
    pictures have the same captions on both sides, so the kernel distance is lower than a report's.
    """

    clip_score: float
    ceiling: float
    kernel: float


def small_evaluation(
    model: Diffusion, pictures: Pictures, clip: Clip, rows: Sequence[int], sampling: Sampling, seed: int = 0
) -> Small:
    """Draw the plain captions of these rows and hold them against the real pictures.

    rows: two or more, best of held-out pictures, and the same every time; the i-th is drawn with seed + i.
    The model is left as it was. Raises ValueError for fewer rows, UserError for a caption the CLIP cannot read.
    """
    real = pictures.take(list(rows))
    captions = [ways[0] for ways in real.captions]
    training = model.training
    model.eval()
    try:
        drawn = batch_drawer(model, sampling)(captions, range(seed, seed + len(captions)))
    finally:
        model.train(training)
    judge = ClipVectors(clip)
    words, seen, made = judge.of_words(captions), judge.of_pictures(real.pixels), judge.of_pictures(drawn)
    return Small(
        clip_score=_score(made, words),
        ceiling=_score(seen, words),
        kernel=kernel(scaled(seen), scaled(made)).value,
    )


def _score(pictures: np.ndarray, words: np.ndarray) -> float:
    return clip_score(pictures, words, resamples=2).value
