"""Prompt alignment: do the pictures show what the prompts say? Measured with a CLIP.

    CLIP score          100 · cosine of picture and caption, the mean; chance: of pictures and the others' captions
    caption R@k         the caption is among the k nearest of all captions that were prompts
    caption R@k of all  ... of all captions of the data, some of which differ in a word
    concept R@k         the name of the thing alone, among all names in the prompts
    style               the words for the style, among those of all styles there are
    concept and style   both are the nearest of theirs

To be compared with the real pictures of the same captions (the ceiling: a CLIP makes mistakes too) and with the
nearest-text baseline. A CLIP has memorised what it was trained on: there a caption lies where its picture does. The
baseline's pictures are from its training set, chosen for captions close to the prompts, and score high even where they
show another thing. Only among all captions, where they find their own, does the CLIP see the difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unstir.evaluate.metrics.retrieval import text_ranks
from unstir.evaluate.statistics.arrays import Embeddings, Floats, Indices, as_unit_vectors
from unstir.evaluate.statistics.bootstrap import BootstrapInterval, bootstrap_interval
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval

CLIP_SCORE, CAPTION, BOTH = "CLIP score", "caption R@1", "concept and style"
CAPTION_OF_ALL = f"{CAPTION} of all"
CONCEPT, STYLE = "concept R@1", "style"
_KS = (1, 5)

EmbedTexts = Callable[[Sequence[str]], Embeddings]

Scores = dict[str, Floats]
"""By the names above, one number a picture, (N,): its score, or 1 where it is right and 0 where not."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Texts among which each of N pictures is to find its own.

    names: M texts.  embeddings: (M, D) of them.  right: (N,) the row of each picture's own.
    """

    names: Sequence[str]
    embeddings: Embeddings
    right: Indices

    def scores(self, name: str, pictures: Embeddings) -> Scores:
        """1 for each picture (N, D) whose own text is among the k nearest. name: with "{}" in place of R@k."""
        ranks = text_ranks(pictures, self.embeddings, self.right)
        return {name.format(f"R@{k}"): (ranks < k).astype(np.float64) for k in _KS if k < len(self.names)}

    def chances(self, name: str) -> dict[str, float]:
        """What guessing reaches."""
        return {name.format(f"R@{k}"): k / len(self.names) for k in _KS if k < len(self.names)}


@dataclass(frozen=True, eq=False)
class PromptTargets:
    """N prompts, and what each picture is to be recognised as.

    embeddings: (N, D) of each one's caption.
    captions, all_captions, concepts, styles: candidates; None where the metadata do not say, or nothing is to choose.
    groups: N ids; pictures of one id are not independent evidence.
    """

    embeddings: Embeddings
    captions: Candidates
    all_captions: Candidates | None
    concepts: Candidates | None
    styles: Candidates | None
    groups: list[str]

    def scores(self, pictures: Embeddings) -> Scores:
        """How well each of N pictures (N, D) fits its prompt."""
        cosines = (as_unit_vectors(pictures) * as_unit_vectors(self.embeddings)).sum(axis=1)
        scores = {CLIP_SCORE: 100 * np.maximum(cosines, 0)}
        for name, candidates in self._searches():
            scores |= candidates.scores(name, pictures)
        if self.styles is not None:
            scores[STYLE] = self.styles.scores("{}", pictures)["R@1"]
        if CONCEPT in scores and STYLE in scores:
            scores[BOTH] = scores[CONCEPT] * scores[STYLE]
        return scores

    def chances(self, pictures: Embeddings) -> dict[str, float]:
        """What pictures reach that have nothing to do with the prompts."""
        others = self.captions.right[:, None] != np.arange(len(self.captions.names))
        cosines = as_unit_vectors(pictures) @ as_unit_vectors(self.captions.embeddings).T
        chances = {CLIP_SCORE: float(100 * np.maximum(cosines[others], 0).mean())} if others.any() else {}
        for name, candidates in self._searches():
            chances |= candidates.chances(name)
        if self.styles is not None:
            chances[STYLE] = self.styles.chances("{}")["R@1"]
            chances[BOTH] = chances.get(CONCEPT, 0.0) * chances[STYLE]
        return chances

    def _searches(self) -> list[tuple[str, Candidates]]:
        named = (
            ("caption {}", self.captions),
            ("caption {} of all", self.all_captions),
            ("concept {}", self.concepts),
        )
        return [(name, candidates) for name, candidates in named if candidates is not None]


@dataclass(frozen=True, eq=False)
class CaptionIndex:
    """All captions of the data. rows: of each in embeddings (T, D)."""

    rows: dict[str, int]
    embeddings: Embeddings


def prompt_targets(
    captions: Sequence[str],
    metas: Sequence[Mapping[str, object]],
    phrases: Sequence[str],
    groups: Sequence[str],
    index: CaptionIndex,
    embed: EmbedTexts,
) -> PromptTargets:
    """captions, metas, groups: of the N prompts' pictures.  phrases: the words of all styles there are."""
    rows = np.array([index.rows[caption] for caption in captions], dtype=np.int64)
    distinct, right = np.unique(rows, return_inverse=True)
    texts = list(index.rows)
    everything = Candidates(texts, index.embeddings, rows) if len(texts) > len(distinct) else None
    return PromptTargets(
        embeddings=index.embeddings[rows],
        captions=Candidates([texts[row] for row in distinct], index.embeddings[distinct], right.astype(np.int64)),
        all_captions=everything,
        concepts=_candidates([meta.get("name", meta.get("concept")) for meta in metas], None, embed),
        styles=_candidates([meta.get("phrase") for meta in metas], phrases, embed),
        groups=list(groups),
    )


def _candidates(words: Sequence[object], among: Sequence[str] | None, embed: EmbedTexts) -> Candidates | None:
    """Candidates for one metadata field; None if not every picture has it, or all have the same."""
    known = [one for one in words if isinstance(one, str)]
    names = sorted(set(known if among is None else among))
    if len(known) < len(words) or len(names) < 2:
        return None
    row = {name: i for i, name in enumerate(names)}
    return Candidates(names, embed(names), np.array([row[word] for word in known], dtype=np.int64))


def mean_with_interval(name: str, scores: Floats, groups: Sequence[str]) -> Proportion | BootstrapInterval:
    """The mean of one metric's scores (N,): of CLIP scores with a bootstrap interval, else with Wilson's."""
    if name == CLIP_SCORE:
        return bootstrap_interval(lambda rows: float(rows.mean()), [scores], groups=[groups])
    return wilson_interval(int(scores.sum()), len(scores))
