"""The model compared with the nearest-text baseline, picture by picture on the same prompts, as rows and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.evaluate.metrics.clip_errors import Confusion, false_acceptance
from unstir.evaluate.metrics.prompt_alignment import BOTH, CLIP_SCORE, CONCEPT, STYLE
from unstir.evaluate.report.document import Row, row_of
from unstir.evaluate.run.held_out import Metadata
from unstir.evaluate.statistics.arrays import Floats
from unstir.evaluate.statistics.bootstrap import BootstrapInterval, bootstrap_interval
from unstir.evaluate.statistics.wilson import wilson_interval

_SHOWN = 3
"""Confusions that a sentence names."""


@dataclass(frozen=True)
class MetricDifference:
    """One metric: the means of two sets of pictures, and their difference, first less second, with its interval."""

    name: str
    first: float
    second: float
    difference: BootstrapInterval

    @property
    def verdict(self) -> str:
        """What the interval shows of the first set against the second: "above", "below" or "no difference"."""
        if self.difference.low > 0:
            return "above"
        return "below" if self.difference.high < 0 else "no difference"


def paired_differences(
    first: Mapping[str, Floats], second: Mapping[str, Floats], groups: Sequence[str], names: Sequence[str]
) -> list[MetricDifference]:
    """Compare the scores (N,) of pictures of the same N prompts, for those of the names that there are.

    groups: N ids; prompts of one id are drawn together in the bootstrap.
    """
    differences = []
    for name in names:
        if name in first:
            pair = np.stack([first[name], second[name]], axis=1)
            apart = bootstrap_interval(lambda rows: float((rows[:, 0] - rows[:, 1]).mean()), [pair], groups=[groups])
            differences.append(MetricDifference(name, float(first[name].mean()), float(second[name].mean()), apart))
    return differences


def difference_rows(differences: Sequence[MetricDifference]) -> list[Row]:
    """The differences as rows of a table."""
    return [row_of(f"{one.name}, model less baseline", one.difference, baseline=0.0) for one in differences]


def baseline_sentence(differences: Sequence[MetricDifference]) -> str:
    """What the metrics show, those of one verdict together, with their values; "" for none."""
    parts = []
    for verdict, words in (("above", "scores above {}"), ("below", "scores below {}"), ("no difference", "")):
        of_verdict = [one for one in differences if one.verdict == verdict]
        if of_verdict:
            parts.append(f"{words or 'no difference from {} is shown'} in {_listed(of_verdict)}")
    if not parts:
        return ""
    first, *rest = parts
    subject = "the model " if first.startswith("scores") else ""
    named = [first.format("the nearest-text baseline"), *(part.format("it") for part in rest)]
    return f"On held-out prompts {subject}{'; '.join(named)}."


def bias_sentence(differences: Sequence[MetricDifference]) -> str:
    """A warning where the CLIP prefers the baseline to the real pictures; "" where it does not.

    differences: of the baseline less the real pictures.
    """
    above = [one for one in differences if one.verdict == "above"]
    if not above:
        return ""
    return (
        f"The CLIP scores the baseline above even the real pictures of these captions in {_listed(above)}: the "
        "baseline's pictures were in its training set and it has memorised them, so these metrics cannot compare the "
        "model with the baseline."
    )


def correct_by_metadata(
    prompted: Sequence[Metadata], nearest: Sequence[Metadata]
) -> dict[str, npt.NDArray[np.bool_]] | None:
    """For each prompt, whether the baseline's picture shows the concept, the style and both, as the metadata say.

    prompted, nearest: metadata of the prompts' pictures and of the baseline's. None where a name or phrase is missing.
    """
    known = [[(meta.get("name"), meta.get("phrase")) for meta in metas] for metas in (prompted, nearest)]
    if not all(isinstance(word, str) for pairs in known for pair in pairs for word in pair):
        return None
    same = np.array([[a == b for a, b in zip(*both, strict=True)] for both in zip(*known, strict=True)], dtype=np.bool_)
    return {CONCEPT: same[:, 0], STYLE: same[:, 1], BOTH: same[:, 0] & same[:, 1]}


def metadata_rows(scores: Mapping[str, Floats], correct: Mapping[str, npt.NDArray[np.bool_]]) -> list[Row]:
    """How often the baseline is right in concept and style, by the CLIP and by the metadata, which are the truth."""
    if BOTH not in scores:
        return []
    by_clip, truth = (wilson_interval(int(one[BOTH].sum()), len(one[BOTH])) for one in (scores, correct))
    return [row_of(f"baseline, {BOTH}, by the CLIP", by_clip), row_of(f"baseline, {BOTH}, by its metadata", truth)]


def metadata_sentence(scores: Mapping[str, Floats], correct: Mapping[str, npt.NDArray[np.bool_]]) -> str:
    """What the baseline's pictures show by their metadata, and what the CLIP accepts by mistake."""
    concept, style, both = (f"{100 * correct[name].mean():.0f} %" for name in (CONCEPT, STYLE, BOTH))
    text = (
        f"By their metadata, the baseline's pictures show the right concept in {concept} of the prompts, the right "
        f"style in {style}, both in {both}"
    )
    if BOTH in scores:
        text += f"; the CLIP counts both as right in {100 * scores[BOTH].mean():.0f} %"
    accepted = []
    for name, word in ((CONCEPT, "concepts"), (STYLE, "styles")):
        wrong = false_acceptance(scores[name], correct[name]) if name in scores else None
        if wrong is not None:
            accepted.append(f"{wrong.successes} of {wrong.total} wrong {word}")
    return f"{text} (it accepts {' and '.join(accepted)})." if accepted else f"{text}."


def confusion_sentence(found: Sequence[Confusion], total: int) -> str:
    """Which styles the CLIP confuses on real pictures; "" for none. total: of the pictures."""
    wrong = sum(one.count for one in found)
    if not wrong:
        return ""
    named = ", ".join(f"{one.truth} for {one.answer} ({one.count} of {one.total})" for one in found[:_SHOWN])
    return f"The CLIP takes {wrong} of {total} real pictures of these prompts for another style, most often {named}."


def _listed(differences: Sequence[MetricDifference]) -> str:
    return " and ".join(
        f"{one.name} ({_number(one.name, one.first)} against {_number(one.name, one.second)})" for one in differences
    )


def _number(name: str, value: float) -> str:
    """A CLIP score as it is, a proportion in percent."""
    return f"{value:.1f}" if name == CLIP_SCORE else f"{100 * value:.3g} %"
