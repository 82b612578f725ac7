"""What the words section counts, on vectors made for it; and what may be said of the baseline."""

import numpy as np
import pytest

from unstir.evaluate import beaten
from unstir.evaluate.words import BOTH, CAPTION, OF_ALL, SCORE, Lexicon, asked, word_rows

NAMES = ("cat", "dog", "sun", "key", "car", "cow")
STYLES = ("flat", "round")
WIDTH = len(NAMES) + len(STYLES)


def embed(texts):
    """A unit vector whose numbers say which names and styles are in the text."""
    vectors = np.array([[float(word in text) for word in (*NAMES, *STYLES)] for text in texts], dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


METAS = [{"name": name, "phrase": style} for name in NAMES for style in STYLES]
CAPTIONS = [f"{meta['name']}, {meta['phrase']}" for meta in METAS]


ALL = [*CAPTIONS, "cat", "flat", "round"]
LEXICON = Lexicon({text: i for i, text in enumerate(ALL)}, embed(ALL))


def ask(captions, metas, styles=STYLES, lexicon=LEXICON):
    return asked(captions, metas, styles, [str(i) for i in range(len(captions))], lexicon, embed)


@pytest.fixture
def questions():
    return ask(CAPTIONS, METAS)


def test_perfect_pictures(questions):
    rows = {row["name"]: row for row in word_rows(questions, embed(CAPTIONS), embed(CAPTIONS), None)}
    assert list(rows) == [
        *(SCORE, CAPTION, "caption R@5", OF_ALL, "caption R@5 of all"),
        *("concept R@1", "concept R@5", "style", BOTH),
    ]
    assert rows[SCORE]["value"] == pytest.approx(100, abs=1e-4)
    assert {row["value"] for name, row in rows.items() if name != SCORE} == {1.0}
    assert rows[CAPTION]["chance"] == 1 / 12
    assert rows["concept R@5"]["chance"] == 5 / 6
    assert rows["style"]["chance"] == 1 / 2
    assert rows[OF_ALL]["chance"] == 1 / 15
    assert rows[BOTH]["chance"] == 1 / 12
    assert 0 < rows[SCORE]["chance"] < 50
    assert rows["style"]["ceiling"] == 1
    assert rows["style"]["baseline"] is None


def test_the_right_thing_in_the_wrong_style(questions):
    other = embed([f"{meta['name']}, {STYLES[1 - STYLES.index(meta['phrase'])]}" for meta in METAS])
    rows = {row["name"]: row["value"] for row in word_rows(questions, other, embed(CAPTIONS), embed(CAPTIONS))}
    assert rows[CAPTION] == rows[OF_ALL] == rows["style"] == rows[BOTH] == 0
    assert rows["concept R@1"] == 1
    assert rows[SCORE] == pytest.approx(50, abs=1e-4)


def test_only_among_all_captions_is_a_picture_of_another_found_out():
    """Of "cat, flat" and "dog, round" a picture of "cat, round" is nearer to the first; among all it finds its own."""
    few = ask(["cat, flat", "dog, flat"], [METAS[0], METAS[2]])
    marks = few.marks(embed(["cat", "dog, round"]))
    assert marks[CAPTION].tolist() == [1, 1]
    assert marks[OF_ALL].tolist() == [0, 0]


def test_what_metadata_do_not_tell_is_left_out():
    words = [SCORE, CAPTION, "caption R@5"]
    whole = Lexicon({text: i for i, text in enumerate(CAPTIONS)}, embed(CAPTIONS))
    plain = ask(CAPTIONS, [{}] * 12, [], whole)
    assert [row["name"] for row in word_rows(plain, embed(CAPTIONS), embed(CAPTIONS), None)] == words
    partly = ask(CAPTIONS, [{"name": "cat"}, *[{}] * 11], ["flat"], whole)
    assert list(partly.banks) == ["caption {}"]
    assert partly.styles is None
    same = ask(["cat"] * 3, [{}] * 3, [], Lexicon({"cat": 0}, embed(["cat"])))
    assert [row["name"] for row in word_rows(same, embed(["cat"] * 3), embed(["cat"] * 3), None)] == [SCORE]


def test_equal_captions_are_one():
    twice = ask(CAPTIONS * 2, METAS * 2)
    assert len(twice.captions.texts) == 12
    assert twice.marks(embed(CAPTIONS * 2))[CAPTION].mean() == 1


# The baseline

GROUPS = [str(i) for i in range(40)]


def marks(rate, score):
    """Forty pictures, of which a share is right, with scores around `score`."""
    return {CAPTION: (np.arange(40) < 40 * rate).astype(float), SCORE: score + np.sin(np.arange(40))}


@pytest.mark.parametrize(
    ("model", "baseline", "words"),
    [
        (
            (0.9, 60),
            (0.3, 50),
            "the model beats the nearest-text baseline by caption R@1 (90 % to 30 %) and CLIP score (60.0 to 50.0).",
        ),
        ((0.3, 50), (0.9, 60), "the model does not reach the nearest-text baseline by caption R@1 (30 % to 90 %) and"),
        ((0.5, 50), (0.5, 50), "the model cannot be told apart from the nearest-text baseline by caption R@1 (50 % to"),
        (
            (0.9, 50),
            (0.3, 60),
            "beats the nearest-text baseline by caption R@1 (90 % to 30 %); it does not reach it by CLIP score (5",
        ),
    ],
)
def test_the_sentence_on_the_baseline(model, baseline, words):
    found = beaten.against(marks(*model), marks(*baseline), GROUPS, [CAPTION, SCORE])
    sentence = beaten.sentence(found)
    assert words in sentence
    assert sentence.startswith("On held-out prompts the model ")
    assert [row["name"] for row in beaten.rows(found)] == [f"{name}, model less baseline" for name in (CAPTION, SCORE)]


def test_a_difference_within_its_interval_is_none():
    one, other = marks(0.5, 50), marks(0.5, 50)
    one[CAPTION][30] = 1
    [found] = beaten.against(one, other, GROUPS, [CAPTION])
    assert found.difference.value == pytest.approx(1 / 40)
    assert found.word == "cannot be told apart from"


def test_siblings_are_no_independent_evidence():
    one, other = marks(0.9, 60), marks(0.3, 60)
    alone = beaten.against(one, other, GROUPS, [CAPTION])[0].difference
    together = beaten.against(one, other, ["a"] * 20 + ["b"] * 20, [CAPTION])[0].difference
    assert together.high - together.low > alone.high - alone.low


def test_a_judge_that_prefers_the_baseline_to_what_is_real_is_not_believed():
    baseline, real = marks(0.9, 60), marks(0.5, 60)
    said = beaten.warning(beaten.against(baseline, real, GROUPS, [CAPTION, SCORE]))
    assert "prefers the baseline even to the real pictures of these captions, by caption R@1 (90 % to 50 %):" in said
    assert beaten.warning(beaten.against(real, baseline, GROUPS, [CAPTION, SCORE])) == ""


def test_without_measures_nothing_is_said():
    assert beaten.sentence(beaten.against(marks(1, 1), marks(1, 1), GROUPS, ["concept R@1"])) == ""
