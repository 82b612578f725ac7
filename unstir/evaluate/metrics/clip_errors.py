"""Errors of a CLIP, where metadata say what pictures show: what it confuses, and what it accepts by mistake."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.prompt_alignment import Candidates
from unstir.evaluate.statistics.arrays import Embeddings, as_unit_vectors
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval


@dataclass(frozen=True)
class Confusion:
    """`count` of the `total` pictures of `truth` lie nearest to `answer`."""

    truth: str
    answer: str
    count: int
    total: int


def confusions(pictures: Embeddings, candidates: Candidates) -> list[Confusion]:
    """What pictures (N, D) of known content are taken for, the most frequent mistakes first."""
    answers = (as_unit_vectors(pictures) @ as_unit_vectors(candidates.embeddings).T).argmax(axis=1)
    totals = Counter(candidates.right.tolist())
    wrong = Counter((truth, answer) for truth, answer in zip(candidates.right.tolist(), answers.tolist(), strict=True))
    mistakes = sorted((-count, pair) for pair, count in wrong.items() if pair[0] != pair[1])
    names = candidates.names
    return [Confusion(names[truth], names[answer], -count, totals[truth]) for count, (truth, answer) in mistakes]


def false_acceptance(accepted: npt.ArrayLike, correct: npt.ArrayLike) -> Proportion | None:
    """Of the pictures that are wrong by their metadata, the proportion that the CLIP counts as right; None for none.

    accepted, correct: (N,) what the CLIP says and what the metadata say.
    """
    wrong = ~np.asarray(correct, dtype=np.bool_)
    if not wrong.any():
        return None
    return wilson_interval(int(np.asarray(accepted, dtype=np.bool_)[wrong].sum()), int(wrong.sum()))
