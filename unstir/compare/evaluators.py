"""The evaluators of a comparison: two spaces that are learned in different ways, by models that draw nothing.

A CLIP learns from pairs of picture and caption, a classifier to name the words of a caption. Both are trained on the
training pictures with a seed of their own, so that neither is a part of a compared model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.evaluate.run.cache import ArrayCache
from unstir.evaluate.run.features import ClipFeatures, fit_to_clip, scaled_features
from unstir.evaluate.statistics.arrays import Embeddings
from unstir.evaluate.statistics.resampling import permutation
from unstir.models.pixels import to_model
from unstir.models.word_classifier import WordClassifier
from unstir.request import fingerprint
from unstir.text.vocabulary import words_of
from unstir.weights.model_file import find_model, load_clip, load_kind

EVALUATORS = {"CLIP": "clip", "word classifier": "classifier"}
"""The kind of each evaluator, by its name."""

MOST_CAPTIONS = 200
"""Captions that an evaluator chooses from."""

BATCH = 64


class Evaluator(Protocol):
    """name: for tables.  identity: tells it from all others."""

    name: str
    identity: str

    def features(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """(N, D), of pictures (N, H, W, C), at the scale that distances need."""
        ...

    def scores(self, pixels: NDArray[np.uint8], captions: Sequence[str]) -> NDArray[np.float64]:
        """(N, captions): how well each caption suits each picture."""
        ...


class ClipEvaluator:
    """A CLIP. path: a model file or run folder."""

    name = "CLIP"

    def __init__(self, path: Path, cache: ArrayCache, device: str) -> None:
        file = find_model(path)
        self.identity = fingerprint(file)
        self._features = ClipFeatures(load_clip(file, device), self.identity, cache)

    def features(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """As `Evaluator.features`."""
        return scaled_features(self._features.of_pictures(pixels))

    def scores(self, pixels: NDArray[np.uint8], captions: Sequence[str]) -> NDArray[np.float64]:
        """As `Evaluator.scores`: the cosines."""
        cosines = self._features.of_pictures(pixels) @ self._features.of_texts(captions).T
        return cosines.astype(np.float64)


class WordEvaluator:
    """A word classifier. path: a model file or run folder."""

    name = "word classifier"

    def __init__(self, path: Path, device: str) -> None:
        file = find_model(path)
        self.identity = fingerprint(file)
        self.model: WordClassifier = load_kind(file, "classifier", device)

    @torch.no_grad()
    def features(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """As `Evaluator.features`."""
        found: Embeddings = np.concatenate(
            [self.model.features(x).float().cpu().numpy() for x in self._batches(pixels)]
        )
        return found

    @torch.no_grad()
    def scores(self, pixels: NDArray[np.uint8], captions: Sequence[str]) -> NDArray[np.float64]:
        """As `Evaluator.scores`: the log probability of the words."""
        found = [self.model.log_probability(self.model.logits(x), captions).cpu() for x in self._batches(pixels)]
        return torch.cat(found).double().numpy()

    def _batches(self, pixels: NDArray[np.uint8]) -> list[torch.Tensor]:
        parts = torch.from_numpy(np.array(pixels)).split(BATCH)  # type: ignore[no-untyped-call]
        return [fit_to_clip(to_model(part.to(self.model.device)), self.model.shape) for part in parts]


def read_as_asked(evaluator: Evaluator, pixels: NDArray[np.uint8], captions: Sequence[str], seed: int = 0) -> float:
    """The fraction of pictures whose caption suits them best, among all different captions, MOST_CAPTIONS at most.

    captions: of the pictures, (N,). Captions of the same words in another order count as one.
    """
    first: dict[frozenset[str], str] = {}
    for caption in captions:
        first.setdefault(frozenset(words_of(caption)), caption)
    every = list(first.values())
    rows = permutation(len(every), seed)[:MOST_CAPTIONS]
    kept = {every[row]: i for i, row in enumerate(rows)}
    asked = [kept.get(first[frozenset(words_of(caption))]) for caption in captions]
    chosen = [i for i, row in enumerate(asked) if row is not None]
    found = evaluator.scores(pixels[chosen], list(kept)).argmax(1)
    return float(np.mean([int(best) == asked[i] for best, i in zip(found, chosen, strict=True)]))
