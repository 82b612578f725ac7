"""A quick evaluation of a few dozen pictures, for training runs to log at every evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from unstir.data.pictures import Pictures
from unstir.evaluate.metrics.kernel_distance import kernel_distance
from unstir.evaluate.metrics.retrieval import clip_score
from unstir.evaluate.run.features import ClipFeatures, scaled_features
from unstir.evaluate.run.generation import batch_drawer
from unstir.evaluate.statistics.arrays import Embeddings
from unstir.models.clip import Clip
from unstir.models.generative import GenerativeModel
from unstir.settings import Settings


@dataclass(frozen=True)
class QuickEvaluation:
    """clip_score: of the generated pictures.  ceiling: of the real ones.  kid: kernel distance between the two sets.

    From so few pictures all are noisy, but with one set of rows and seeds they can be compared along a run. Both sets
    have the same captions, so the kernel distance is lower than in a report.
    """

    clip_score: float
    ceiling: float
    kid: float


def quick_evaluation(
    model: GenerativeModel,
    pictures: Pictures,
    clip: Clip,
    rows: Sequence[int],
    settings: Settings | None = None,
    seed: int = 0,
) -> QuickEvaluation:
    """Draw the plain captions of these rows and compare with the real pictures.

    rows: two or more, best of held-out pictures, and the same every time; the i-th is drawn with seed + i.
    Raises ValueError for fewer rows, UserError for a caption that is too long for the CLIP.
    """
    real = pictures.take(list(rows))
    captions = [alternatives[0] for alternatives in real.captions]
    generated = batch_drawer(model, settings)(captions, range(seed, seed + len(captions)))
    clip_features = ClipFeatures(clip)
    texts = clip_features.of_texts(captions)
    of_real, of_generated = (clip_features.of_pictures(pixels) for pixels in (real.pixels, generated))
    return QuickEvaluation(
        clip_score=_score(of_generated, texts),
        ceiling=_score(of_real, texts),
        kid=kernel_distance(scaled_features(of_real), scaled_features(of_generated)).value,
    )


def _score(pictures: Embeddings, texts: Embeddings) -> float:
    return clip_score(pictures, texts, resamples=2).value
