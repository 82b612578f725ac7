"""What is said of the model and the nearest-text baseline, and of the CLIP that compares them."""

import numpy as np
import pytest

from unstir.evaluate.metrics.clip_errors import Confusion, confusions, false_acceptance
from unstir.evaluate.metrics.prompt_alignment import BOTH, CAPTION, CLIP_SCORE, CONCEPT, STYLE, Candidates
from unstir.evaluate.report.baseline_comparison import (
    baseline_sentence,
    bias_sentence,
    confusion_sentence,
    correct_by_metadata,
    difference_rows,
    metadata_rows,
    metadata_sentence,
    paired_differences,
)

GROUPS = [str(i) for i in range(40)]


def scores(rate, score):
    """Forty pictures, of which a proportion is right, with scores around `score`."""
    return {CAPTION: (np.arange(40) < 40 * rate).astype(float), CLIP_SCORE: score + np.sin(np.arange(40))}


@pytest.mark.parametrize(
    ("model", "baseline", "sentence"),
    [
        (
            (0.9, 60),
            (0.3, 50),
            "On held-out prompts the model scores above the nearest-text baseline in caption R@1 (90 % against 30 %) "
            "and CLIP score (60.0 against 50.0).",
        ),
        (
            (0.3, 50),
            (0.9, 60),
            "On held-out prompts the model scores below the nearest-text baseline in caption R@1 (30 % against 90 %) "
            "and CLIP score (50.0 against 60.0).",
        ),
        (
            (0.5, 50),
            (0.5, 50),
            "On held-out prompts no difference from the nearest-text baseline is shown in caption R@1 (50 % against "
            "50 %) and CLIP score (50.0 against 50.0).",
        ),
        (
            (0.9, 50),
            (0.3, 60),
            "On held-out prompts the model scores above the nearest-text baseline in caption R@1 (90 % against 30 %); "
            "scores below it in CLIP score (50.0 against 60.0).",
        ),
    ],
)
def test_the_sentence_on_the_baseline(model, baseline, sentence):
    found = paired_differences(scores(*model), scores(*baseline), GROUPS, [CAPTION, CLIP_SCORE])
    assert baseline_sentence(found) == sentence
    assert [row["name"] for row in difference_rows(found)] == [
        f"{name}, model less baseline" for name in (CAPTION, CLIP_SCORE)
    ]


def test_a_difference_within_its_interval_is_none():
    one, other = scores(0.5, 50), scores(0.5, 50)
    one[CAPTION][30] = 1
    [found] = paired_differences(one, other, GROUPS, [CAPTION])
    assert found.difference.value == pytest.approx(1 / 40)
    assert found.verdict == "no difference"


def test_siblings_are_no_independent_evidence():
    one, other = scores(0.9, 60), scores(0.3, 60)
    alone = paired_differences(one, other, GROUPS, [CAPTION])[0].difference
    together = paired_differences(one, other, ["a"] * 20 + ["b"] * 20, [CAPTION])[0].difference
    assert together.high - together.low > alone.high - alone.low


def test_a_clip_that_prefers_the_baseline_to_real_pictures_is_reported():
    baseline, real = scores(0.9, 60), scores(0.5, 60)
    sentence = bias_sentence(paired_differences(baseline, real, GROUPS, [CAPTION, CLIP_SCORE]))
    assert (
        "scores the baseline above even the real pictures of these captions in caption R@1 (90 % against 5" in sentence
    )
    assert bias_sentence(paired_differences(real, baseline, GROUPS, [CAPTION, CLIP_SCORE])) == ""


def test_without_metrics_nothing_is_said():
    assert baseline_sentence(paired_differences(scores(1, 1), scores(1, 1), GROUPS, [CONCEPT])) == ""


# What metadata say

PROMPTED = [{"name": name, "phrase": phrase} for name in ("cat", "dog") for phrase in ("flat", "round")]
NEAREST = [{"name": meta["name"], "phrase": "flat"} for meta in PROMPTED]


def test_the_baseline_by_its_metadata_stands_beside_what_the_clip_says():
    correct = correct_by_metadata(PROMPTED, NEAREST)
    assert correct[CONCEPT].tolist() == [True] * 4
    assert correct[STYLE].tolist() == correct[BOTH].tolist() == [True, False, True, False]
    by_clip = {STYLE: np.array([1.0, 1, 1, 0]), BOTH: np.array([1.0, 1, 1, 0])}
    rows = metadata_rows(by_clip, correct)
    assert [(row["name"], row["value"]) for row in rows] == [
        ("baseline, concept and style, by the CLIP", 0.75),
        ("baseline, concept and style, by its metadata", 0.5),
    ]
    assert metadata_sentence(by_clip, correct) == (
        "By their metadata, the baseline's pictures show the right concept in 100 % of the prompts, the right style in "
        "50 %, both in 50 %; the CLIP counts both as right in 75 % (it accepts 1 of 2 wrong styles)."
    )


def test_without_metadata_nothing_is_known():
    assert correct_by_metadata([{}], [{"name": "cat", "phrase": "flat"}]) is None
    assert metadata_rows({CAPTION: np.ones(4)}, correct_by_metadata(PROMPTED, NEAREST)) == []


def test_confusions():
    styles = Candidates(["flat", "round", "line"], np.eye(3, dtype=np.float32), np.array([0, 0, 0, 1, 1, 2]))
    pictures = np.eye(3, dtype=np.float32)[[1, 1, 0, 1, 2, 2]]
    found = confusions(pictures, styles)
    assert found == [Confusion("flat", "round", 2, 3), Confusion("round", "line", 1, 2)]
    assert confusion_sentence(found, 6) == (
        "The CLIP takes 3 of 6 real pictures of these prompts for another style, most often flat for round (2 of 3), "
        "round for line (1 of 2)."
    )
    assert confusion_sentence([], 6) == ""


def test_false_acceptance():
    assert false_acceptance([1, 1, 0, 0], [True, False, False, False]).value == pytest.approx(1 / 3)
    assert false_acceptance([1, 1], [True, True]) is None
