"""Do pictures and words find each other? On vectors of both from one space, compared by cosine.

A wrong answer that scores as high as the right one counts as found before it: a model that gives every picture the
same vector scores nothing. Intervals take the questions for independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.bootstrap import Interval, interval
from unstir.evaluate.rows import Floats, Indices, as_ids, as_units
from unstir.evaluate.shares import Share, share

_CHUNK = 1 << 22  # cosines at a time: 32 MiB
_TIE = 1e-9  # cosines nearer than this are equal


@dataclass(frozen=True)
class Retrieval:
    """Shares by name, "R@1" and so on.

    texts: of the pictures, those with a right text among the k nearest.  pictures: of the texts that have a picture,
    those with a right picture among the k nearest.
    """

    texts: dict[str, Share]
    pictures: dict[str, Share]


def retrieval(
    pictures: npt.ArrayLike,
    texts: npt.ArrayLike,
    right: npt.ArrayLike,
    same: npt.ArrayLike | None = None,
    ks: Sequence[int] = (1, 5),
) -> Retrieval:
    """Search both ways.

    pictures: (N, D).  texts: (M, D).  right: (N,) the row of each picture's text.
    same: (M,) ids of texts; texts of one id are equally right for each other's pictures. Equal texts must share one.
    Raises ValueError where these do not fit together, or k is not between 1 and the number of things searched.
    """
    images, words = _aligned(pictures, texts)
    rows = _rows(right, len(images), len(words))
    meaning = np.arange(len(words)) if same is None else as_ids(same, len(words), "the ids of equal texts")
    asked = np.flatnonzero(np.isin(meaning, meaning[rows]))
    return Retrieval(
        texts=_recalls(images, words, meaning[rows], meaning, ks),
        pictures=_recalls(words[asked], images, meaning[asked], meaning[rows], ks),
    )


def wrong_before(pictures: npt.ArrayLike, texts: npt.ArrayLike, right: npt.ArrayLike) -> Indices:
    """(N,) for each picture (N, D), how many wrong texts of (M, D) come before its right one: 0 where it is found.

    right: (N,) the row of each picture's text. What `retrieval` counts, picture by picture.
    """
    images, words = _aligned(pictures, texts)
    return _wrong_before(images, words, _rows(right, len(images), len(words)), np.arange(len(words)))


def classification(
    pictures: npt.ArrayLike, classes: npt.ArrayLike, labels: npt.ArrayLike, same: npt.ArrayLike | None = None
) -> Share:
    """Zero-shot: the share of pictures (N, D) whose nearest class vector, of (C, D), is the right one.

    labels: (N,) rows of `classes`.  same: (C,) ids of classes that are equally right. Source: Radford et al. 2021.
    """
    images, words = _aligned(pictures, classes)
    rows = _rows(labels, len(images), len(words))
    meaning = np.arange(len(words)) if same is None else as_ids(same, len(words), "the ids of equal classes")
    return _recalls(images, words, meaning[rows], meaning, [1])["R@1"]


def clip_score(
    pictures: npt.ArrayLike,
    texts: npt.ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """100 · max(cosine, 0), the mean over pictures (N, D) and the text of each, (N, D).

    Hessel et al. (2021) scale by 2.5; the factor of 100 is what is usually reported under the name.
    groups: (N,) ids of pictures that are no independent evidence, see `bootstrap.interval`.
    """
    images, words = _aligned(pictures, texts)
    if len(images) != len(words):
        raise ValueError(f"{len(images)} pictures and {len(words)} texts; each picture needs its own")
    scores = 100 * np.maximum((images * words).sum(axis=1), 0)
    return interval(lambda rows: float(rows.mean()), [scores], resamples, seed, groups=[groups])


def _aligned(pictures: npt.ArrayLike, texts: npt.ArrayLike) -> tuple[Floats, Floats]:
    images, words = as_units(pictures, "the pictures' vectors"), as_units(texts, "the texts' vectors")
    if images.shape[1] != words.shape[1]:
        raise ValueError(f"pictures and texts have {images.shape[1]} and {words.shape[1]} dimensions")
    return images, words


def _rows(right: npt.ArrayLike, count: int, most: int) -> Indices:
    rows = np.asarray(right)
    if rows.shape != (count,) or not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= most:
        raise ValueError(f"the right answers must be {count} rows of the {most} there are")
    return rows.astype(np.int64)


def _recalls(asking: Floats, answers: Floats, wanted: Indices, meaning: Indices, ks: Sequence[int]) -> dict[str, Share]:
    """R@k for each k. wanted: (Q,) ids.  meaning: (A,) ids of the answers."""
    if not all(1 <= k <= len(answers) for k in ks):
        raise ValueError(f"k must lie between 1 and {len(answers)}: {list(ks)}")
    before = _wrong_before(asking, answers, wanted, meaning)
    counts = np.bincount(meaning, minlength=int(wanted.max()) + 1)[wanted]
    return {f"R@{k}": share(int((before < k).sum()), len(asking), _chance(counts, len(answers), k)) for k in ks}


def _wrong_before(asking: Floats, answers: Floats, wanted: Indices, meaning: Indices) -> Indices:
    """(Q,) how many wrong answers come before the first right one."""
    before = np.empty(len(asking), dtype=np.int64)
    step = max(1, _CHUNK // len(answers))
    for start in range(0, len(asking), step):
        rows = slice(start, start + step)
        cosines = asking[rows] @ answers.T
        fits = wanted[rows, None] == meaning
        best = np.where(fits, cosines, -np.inf).max(axis=1)
        before[rows] = ((cosines >= best[:, None] - _TIE) & ~fits).sum(axis=1)
    return before


def _chance(counts: Indices, answers: int, k: int) -> float:
    """How often one of `counts` right answers is among k drawn at random, on average over the questions."""
    least, weights = np.unique(counts, return_counts=True)
    missed = [math.comb(answers - int(right), k) / math.comb(answers, k) for right in least]
    return float(1 - np.average(missed, weights=weights))
