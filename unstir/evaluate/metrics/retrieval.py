"""Retrieval recall, zero-shot accuracy and CLIP score: vectors of pictures and texts from one space, by cosine.

A wrong answer that scores as high as the right one counts as found before it: a model that gives every picture the
same vector scores nothing. Intervals take the queries for independent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.statistics.arrays import Floats, Indices, as_ids, as_unit_vectors
from unstir.evaluate.statistics.bootstrap import BootstrapInterval, bootstrap_interval
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval

_CHUNK = 1 << 22  # cosines at a time: 32 MiB
_TIE = 1e-9  # cosines nearer than this are equal

_Relevant = Callable[[slice], npt.NDArray[np.bool_]]
"""Some of the queries, (Q), -> (Q, A): which answers are right for each."""


@dataclass(frozen=True)
class RetrievalRecall:
    """Recall by name, "R@1" and so on.

    image_to_text: of the pictures, the proportion with a right text among the k nearest.
    text_to_image: of the texts that have a picture, the proportion with a right picture among the k nearest.
    """

    image_to_text: dict[str, Proportion]
    text_to_image: dict[str, Proportion]


def retrieval_recall(
    pictures: npt.ArrayLike,
    texts: npt.ArrayLike,
    right: npt.ArrayLike,
    same: npt.ArrayLike | None = None,
    ks: Sequence[int] = (1, 5),
) -> RetrievalRecall:
    """R@k in both directions, where each picture has one text.

    pictures: (N, D).  texts: (M, D).  right: (N,) the row of each picture's text.
    same: (M,) ids of texts; texts of one id are equally right for each other's pictures. Equal texts must share one.
    Raises ValueError where these do not fit together, or k is not between 1 and the number of answers.
    """
    images, words = _aligned(pictures, texts)
    rows = _checked_rows(right, len(images), len(words))
    meaning = np.arange(len(words)) if same is None else as_ids(same, len(words), "the ids of equal texts")
    of_pictures = meaning[rows]
    queries = np.flatnonzero(np.isin(meaning, of_pictures))
    return RetrievalRecall(
        image_to_text=_recalls(images, words, _equal(of_pictures, meaning), ks),
        text_to_image=_recalls(words[queries], images, _equal(meaning[queries], of_pictures), ks),
    )


def recall_at_k(
    pictures: npt.ArrayLike, texts: npt.ArrayLike, relevant: npt.ArrayLike, ks: Sequence[int] = (1,)
) -> RetrievalRecall:
    """R@k in both directions, where a picture may have several texts and a text several pictures.

    pictures: (N, D).  texts: (M, D).  relevant: (N, M) bool, which text is right for which picture.
    Texts without a picture and pictures without a text are answers, but not queries.
    Raises ValueError where these do not fit together, no pair is relevant, or k is not between 1 and the number of
    answers.
    """
    images, words = _aligned(pictures, texts)
    pairs = np.asarray(relevant, dtype=np.bool_)
    if pairs.shape != (len(images), len(words)) or not pairs.any():
        raise ValueError(f"relevant must be ({len(images)}, {len(words)}) with a pair in it, not {pairs.shape}")
    rows, columns = np.flatnonzero(pairs.any(axis=1)), np.flatnonzero(pairs.any(axis=0))
    forward, backward = pairs[rows], pairs[:, columns].T
    return RetrievalRecall(
        image_to_text=_recalls(images[rows], words, lambda some: forward[some], ks),
        text_to_image=_recalls(words[columns], images, lambda some: backward[some], ks),
    )


def text_ranks(pictures: npt.ArrayLike, texts: npt.ArrayLike, right: npt.ArrayLike) -> Indices:
    """For each picture, how many wrong texts are at least as near as its own: 0 where its own is the nearest.

    pictures: (N, D).  texts: (M, D).  right: (N,) the row of each picture's text.
    Returns (N,), what `retrieval_recall` counts, picture by picture.
    """
    images, words = _aligned(pictures, texts)
    rows = _checked_rows(right, len(images), len(words))
    return _ranks(images, words, _equal(rows, np.arange(len(words))))


def zero_shot_accuracy(
    pictures: npt.ArrayLike, classes: npt.ArrayLike, labels: npt.ArrayLike, same: npt.ArrayLike | None = None
) -> Proportion:
    """The proportion of pictures (N, D) whose nearest class vector, of (C, D), is the right one.

    labels: (N,) rows of `classes`.  same: (C,) ids of classes that are equally right.
    Source: Radford et al. 2021.
    """
    images, words = _aligned(pictures, classes)
    rows = _checked_rows(labels, len(images), len(words))
    meaning = np.arange(len(words)) if same is None else as_ids(same, len(words), "the ids of equal classes")
    return _recalls(images, words, _equal(meaning[rows], meaning), [1])["R@1"]


def clip_score(
    pictures: npt.ArrayLike,
    texts: npt.ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> BootstrapInterval:
    """100 · max(cosine, 0), the mean over pictures (N, D) and the text of each, (N, D).

    Hessel et al. (2021) scale by 2.5; the factor of 100 is what is usually reported under the name.
    groups: (N,) ids of pictures that are not independent evidence, see `bootstrap_interval`.
    """
    images, words = _aligned(pictures, texts)
    if len(images) != len(words):
        raise ValueError(f"{len(images)} pictures and {len(words)} texts; each picture needs its own")
    scores = 100 * np.maximum((images * words).sum(axis=1), 0)
    return bootstrap_interval(lambda rows: float(rows.mean()), [scores], resamples, seed, groups=[groups])


def _aligned(pictures: npt.ArrayLike, texts: npt.ArrayLike) -> tuple[Floats, Floats]:
    images, words = as_unit_vectors(pictures, "the pictures' vectors"), as_unit_vectors(texts, "the texts' vectors")
    if images.shape[1] != words.shape[1]:
        raise ValueError(f"pictures and texts have {images.shape[1]} and {words.shape[1]} dimensions")
    return images, words


def _checked_rows(right: npt.ArrayLike, count: int, most: int) -> Indices:
    rows = np.asarray(right)
    if rows.shape != (count,) or not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= most:
        raise ValueError(f"the right answers must be {count} rows of the {most} there are")
    return rows.astype(np.int64)


def _equal(queries: Indices, answers: Indices) -> _Relevant:
    """Right are the answers whose id (A,) is that of the query (Q,)."""
    return lambda some: queries[some, None] == answers


def _recalls(queries: Floats, answers: Floats, relevant: _Relevant, ks: Sequence[int]) -> dict[str, Proportion]:
    """R@k for each k."""
    if not all(1 <= k <= len(answers) for k in ks):
        raise ValueError(f"k must lie between 1 and {len(answers)}: {list(ks)}")
    ranks = _ranks(queries, answers, relevant)
    counts = np.concatenate([relevant(rows).sum(axis=1) for rows in _chunks(len(queries), len(answers))])
    return {
        f"R@{k}": wilson_interval(int((ranks < k).sum()), len(queries), _chance(counts, len(answers), k)) for k in ks
    }


def _ranks(queries: Floats, answers: Floats, relevant: _Relevant) -> Indices:
    """(Q,) how many wrong answers come before the first right one."""
    ranks = np.empty(len(queries), dtype=np.int64)
    for rows in _chunks(len(queries), len(answers)):
        cosines = queries[rows] @ answers.T
        right = relevant(rows)
        best = np.where(right, cosines, -np.inf).max(axis=1)
        ranks[rows] = ((cosines >= best[:, None] - _TIE) & ~right).sum(axis=1)
    return ranks


def _chunks(queries: int, answers: int) -> list[slice]:
    step = max(1, _CHUNK // answers)
    return [slice(start, start + step) for start in range(0, queries, step)]


def _chance(counts: Indices, answers: int, k: int) -> float:
    """How often one of `counts` right answers is among k drawn at random, on average over the queries."""
    distinct, weights = np.unique(counts, return_counts=True)
    missed = [math.comb(answers - int(right), k) / math.comb(answers, k) for right in distinct]
    return float(1 - np.average(missed, weights=weights))
