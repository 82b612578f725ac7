"""Do the pictures show what was asked for? As a CLIP sees it, beside the real pictures and the nearest-text baseline.

    CLIP score          100 · cosine of picture and caption, the mean; chance: of pictures and the others' captions
    caption R@k         the caption is among the k nearest of all captions asked
    caption R@k of all  ... of all captions of the data, some of which differ in a word
    concept R@k         the name of the thing alone, among all names asked
    style               the words for the style, among those of all styles there are
    concept and style   both are the nearest of theirs

The ceiling is what the real pictures of the same captions reach: a CLIP does not know everything either. What it was
trained on, though, it knows by heart: there a caption lies where its picture does. The baseline's pictures are such,
chosen for captions that lie near to what was asked, and score high even where they show another thing. Only among all
captions, where they find their own, are they found out.
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

SCORE, CAPTION, BOTH = "CLIP score", "caption R@1", "concept and style"
OF_ALL = f"{CAPTION} of all"
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

    def marks(self, name: str, pictures: Vectors) -> Marks:
        """1 for each picture (N, D) whose own text is among the k nearest. name: with "{}" where k is told."""
        before = wrong_before(pictures, self.texts, self.right)
        return {name.format(f"R@{k}"): (before < k).astype(np.float64) for k in _KS if k < len(self.texts)}

    def chances(self, name: str) -> dict[str, float]:
        """What guessing reaches."""
        return {name.format(f"R@{k}"): k / len(self.texts) for k in _KS if k < len(self.texts)}


@dataclass(frozen=True, eq=False)
class Asked:
    """N captions that were asked for, and what each picture is to find.

    own: (N, D) each one's caption.  banks: by the names of their rows, "{}" for R@k; see `asked`.
    styles: where the metadata tell them.  groups: N ids; pictures of one id are no independent evidence.
    """

    own: Vectors
    banks: dict[str, Bank]
    styles: Bank | None
    groups: list[str]

    @property
    def captions(self) -> Bank:
        return self.banks["caption {}"]

    def marks(self, pictures: Vectors) -> Marks:
        """How well N pictures (N, D) fit, one by one."""
        cosines = (as_units(pictures) * as_units(self.own)).sum(axis=1)
        marks = {SCORE: 100 * np.maximum(cosines, 0)}
        for name, bank in self.banks.items():
            marks |= bank.marks(name, pictures)
        if self.styles is not None:
            marks["style"] = self.styles.marks("{}", pictures)["R@1"]
        if "concept R@1" in marks and "style" in marks:
            marks[BOTH] = marks["concept R@1"] * marks["style"]
        return marks

    def chances(self, pictures: Vectors) -> dict[str, float]:
        """What pictures reach that have nothing to do with what was asked."""
        others = self.captions.right[:, None] != np.arange(len(self.captions.texts))
        cosines = as_units(pictures) @ as_units(self.captions.texts).T
        chances = {SCORE: float(100 * np.maximum(cosines[others], 0).mean())} if others.any() else {}
        for name, bank in self.banks.items():
            chances |= bank.chances(name)
        if self.styles is not None:
            chances["style"] = self.styles.chances("{}")["R@1"]
            chances[BOTH] = chances.get("concept R@1", 0.0) * chances["style"]
        return chances


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All captions of the data. place: of each in vectors (T, D)."""

    place: dict[str, int]
    vectors: Vectors


def asked(
    captions: Sequence[str],
    metas: Sequence[Mapping[str, object]],
    phrases: Sequence[str],
    groups: Sequence[str],
    lexicon: Lexicon,
    embed: Embed,
) -> Asked:
    """captions, metas, groups: of the N prompts' pictures.  phrases: the words of all styles there are."""
    places = np.array([lexicon.place[caption] for caption in captions], dtype=np.int64)
    distinct, right = np.unique(places, return_inverse=True)
    banks = {"caption {}": Bank(lexicon.vectors[distinct], right.astype(np.int64))}
    if len(lexicon.place) > len(distinct):
        banks["caption {} of all"] = Bank(lexicon.vectors, places)
    names = _bank([meta.get("name", meta.get("concept")) for meta in metas], None, embed)
    if names is not None:
        banks["concept {}"] = names
    styles = _bank([meta.get("phrase") for meta in metas], phrases, embed)
    return Asked(lexicon.vectors[places], banks, styles, list(groups))


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
