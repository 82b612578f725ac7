"""Which words a model knows, and what is said of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstir.scenes.phrases import misspelt
from unstir.text.vocabulary import correct_spelling, unknown_word_notes, unknown_words, vocabulary, words_of

KNOWN = vocabulary(["red apple, fluent 3d", "a man’s shoe", "butterfly", "leaf", "box", "xylophone", "red umbrella"])


def test_words():
    assert words_of("Red APPLE, fluent_3D!") == ["red", "apple", "fluent", "3d"]
    assert ["red", *sorted(set(KNOWN) - {"red"})] == KNOWN, "the most frequent first"
    assert len(vocabulary(["a b c"], most=2)) == 2
    assert "shoe" in KNOWN
    assert vocabulary(["a b", "a"], least=2) == ["a"]


def test_known_words_and_their_plurals_raise_no_word():
    assert unknown_words("Two? red apples, butterflies, leaves and boxes", [*KNOWN, "two", "and"]) == []


def test_unknown_words_come_once_with_their_neighbours():
    found = dict(unknown_words("a xylem umbrela and a xylem", [*KNOWN, "and"]))
    assert list(found) == ["xylem", "umbrela"]
    assert found["umbrela"] == ["umbrella"]
    assert unknown_word_notes([("umbrela", ["umbrella"]), ("qqq", [])]) == [
        "no picture of 'umbrela' was in the training words; nearest: umbrella",
        "no picture of 'qqq' was in the training words",
    ]


SEEN = ["apple", "able", "banana", "cat", "umbrella", "rocket", "guitar", "cap"]


@pytest.mark.parametrize(
    ("text", "mended", "pairs"),
    [
        ("a Bananna, noto", "a banana, noto", {"bananna": "banana"}),
        ("two UMBRELAS and a rocekt", "two umbrellas and a rocket", {"umbrelas": "umbrellas", "rocekt": "rocket"}),
        ("aple", "apple", {"aple": "apple"}),  # also "able", which is rarer
        ("guitarr-shaped", "guitar-shaped", {"guitarr": "guitar"}),
        ("cet", "cet", {}),  # too short to know
        ("xylem", "xylem", {}),
        ("spple", "spple", {}),  # hardly anyone misses the first letter
        ("an apple, bananas", "an apple, bananas", {}),
        ("", "", {}),
    ],
)
def test_slips_are_mended(text, mended, pairs):
    assert correct_spelling(text, SEEN) == (mended, pairs)


@given(st.sampled_from([word for word in SEEN if len(word) > 3]), st.integers(0, 10**6))
def test_whatever_a_hurried_hand_writes(word, seed):
    written = misspelt(word, np.random.default_rng(seed))
    got, pairs = correct_spelling(written, SEEN)
    short = len(written) < 4
    assert got in (written if short else word, "able", "apple")
    assert pairs == ({} if short or written in SEEN else {written: got})
