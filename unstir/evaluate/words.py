"""Do the pictures show what was asked for? As a CLIP sees it, beside the real pictures and the nearest-text baseline.

    CLIP score     100 · cosine of picture and caption, the mean; chance: of pictures and the others' captions
    caption R@k    the caption is among the k nearest of all captions asked: thing *and* style must be right
    concept R@k    the name of the thing alone, among all names asked
    style          the words for the style, among those of all styles there are

The ceiling is what the real pictures of the same captions reach: a CLIP does not know everything either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unstir.evaluate.bootstrap import Interval, interval
from unstir.evaluate.report import Row, row_of
from unstir.evaluate.retrieval import wrong_before
from unstir.evaluate.rows import Floats, Indices, as_units
from unstir.evaluate.shares import Share, share
from unstir.evaluate.shelf import Vectors

SCORE, CAPTION = "CLIP score", "caption R@1"
_KS = (1, 5)

Embed = Callable[[Sequence[str]], Vectors]
"""Texts -> (N, D) unit vectors."""

Marks = dict[str, Floats]
"""By the names above, one number a picture, (N,): its score, or 1 where it is right and 0 where not."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Texts (M, D), among which each picture is to find its own: right (N,) rows."""

    texts: Vectors
    right: Indices

    def marks(self, name: str, pictures: Vectors, ks: Sequence[int]) -> Marks:
        """1 for each picture (N, D) whose own text is among the k nearest."""
        before = wrong_before(pictures, self.texts, self.right)
        return {f"{name} R@{k}": (before < k).astype(np.float64) for k in ks if k < len(self.texts)}


@dataclass(frozen=True, eq=False)
class Asked:
    """N captions that were asked for, and what each picture is to find.

    own: (N, D) each one's caption.  captions: always; names, styles: where the metadata tell them.
    groups: N ids; pictures of one id are no independent evidence.
    """

    own: Vectors
    captions: Bank
    names: Bank | None
    styles: Bank | None
    groups: list[str]

    def marks(self, pictures: Vectors) -> Marks:
        """How well N pictures (N, D) fit, one by one."""
        cosines = (as_units(pictures) * as_units(self.own)).sum(axis=1)
        marks = {SCORE: 100 * np.maximum(cosines, 0), **self.captions.marks("caption", pictures, _KS)}
        if self.names is not None:
            marks |= self.names.marks("concept", pictures, _KS)
        if self.styles is not None:
            marks |= {"style": self.styles.marks("style", pictures, [1])["style R@1"]}
        return marks

    def chances(self, pictures: Vectors) -> dict[str, float]:
        """What pictures reach that have nothing to do with what was asked."""
        others = self.captions.right[:, None] != np.arange(len(self.captions.texts))
        cosines = as_units(pictures) @ as_units(self.captions.texts).T
        chances = {SCORE: float(100 * np.maximum(cosines[others], 0).mean())} if others.any() else {}
        for name, bank in (("caption", self.captions), ("concept", self.names)):
            if bank is not None:
                chances |= {f"{name} R@{k}": k / len(bank.texts) for k in _KS}
        return chances | ({"style": 1 / len(self.styles.texts)} if self.styles is not None else {})


def asked(
    captions: Sequence[str],
    metas: Sequence[Mapping[str, object]],
    phrases: Sequence[str],
    groups: Sequence[str],
    embed: Embed,
) -> Asked:
    """captions, metas, groups: of the N prompts' pictures.  phrases: the words of all styles there are."""
    distinct, right = np.unique(np.array(captions), return_inverse=True)
    texts = embed(distinct.tolist())
    named = [meta.get("name", meta.get("concept")) for meta in metas]
    styled = [meta.get("phrase") for meta in metas]
    return Asked(
        own=texts[right],
        captions=Bank(texts, right.astype(np.int64)),
        names=_bank(named, None, embed),
        styles=_bank(styled, phrases, embed),
        groups=list(groups),
    )


def _bank(said: Sequence[object], among: Sequence[str] | None, embed: Embed) -> Bank | None:
    """A bank of what is said of each picture; None if it is not said of every one, or is the same of all."""
    words = [one for one in said if isinstance(one, str)]
    choices = sorted(set(words if among is None else among))
    if len(words) < len(said) or len(choices) < 2:
        return None
    place = {choice: i for i, choice in enumerate(choices)}
    return Bank(embed(choices), np.array([place[word] for word in words], dtype=np.int64))


def word_rows(asked: Asked, drawn: Vectors, real: Vectors, nearest: Vectors | None) -> list[Row]:
    """The table's rows. drawn, real, nearest: (N, D), pictures of the model, of the data, of the baseline."""
    chances, ceiling = asked.chances(drawn), asked.marks(real)
    baseline = {} if nearest is None else asked.marks(nearest)
    rows = []
    for name, marks in asked.marks(drawn).items():
        rows.append(
            row_of(
                name,
                _told(name, marks, asked.groups),
                ceiling=float(ceiling[name].mean()),
                baseline=float(baseline[name].mean()) if baseline else None,
                chance=chances.get(name),
            )
        )
    return rows


def _told(name: str, marks: Floats, groups: Sequence[str]) -> Share | Interval:
    if name == SCORE:
        return interval(lambda rows: float(rows.mean()), [marks], groups=[groups])
    return share(int(marks.sum()), len(marks))
