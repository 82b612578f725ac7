"""Which words a model knows, what is said of the others, and how typos are corrected."""

import tracemalloc
from string import ascii_lowercase

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
    assert len(vocabulary(["a b c"], max_words=2)) == 2
    assert "shoe" in KNOWN
    assert vocabulary(["a b", "a"], min_count=2) == ["a"]


def test_known_words_and_their_plurals_raise_no_word():
    assert unknown_words("Two? red apples, butterflies, leaves and boxes", [*KNOWN, "two", "and"]) == []


def test_unknown_words_come_once_with_close_words_only():
    found = dict(unknown_words("a xylem umbrela and a xylem", [*KNOWN, "and"]))
    assert found == {"xylem": [], "umbrela": ["umbrella"]}  # "xylophone" is not close
    assert unknown_words("pixel", ["pie", "pixie", "axe"]) == [("pixel", [])]
    assert unknown_words("spple", ["able", "apple"]) == [("spple", ["apple"])]
    assert unknown_words("kangoro", ["kangaroo"]) == [("kangoro", ["kangaroo"])]
    assert unknown_words("mouze", ["mouth", "mouse", "moose", "house", "mouser"], suggestions=1) == [
        ("mouze", ["mouse"])
    ]
    assert unknown_words("kit", []) == [("kit", [])]


def test_notes():
    assert unknown_word_notes([("umbrela", ["umbrella"]), ("qqq", []), ("cet", ["cat", "pet"])]) == [
        "'umbrela' was not in the training captions; did you mean 'umbrella'?",
        "'qqq' was not in the training captions",
        "'cet' was not in the training captions; did you mean 'cat' or 'pet'?",
    ]
    assert unknown_word_notes([("q" * 1000, [])]) == [f"'{'q' * 32}…' was not in the training captions"]


SEEN = ["apple", "able", "banana", "cat", "umbrella", "rocket", "guitar", "cap"]


@pytest.mark.parametrize(
    ("text", "corrected", "pairs"),
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
def test_typos_are_corrected(text, corrected, pairs):
    assert correct_spelling(text, SEEN) == (corrected, pairs)


@given(st.sampled_from([word for word in SEEN if len(word) > 3]), st.integers(0, 10**6))
def test_random_typos(word, seed):
    written = misspelt(word, np.random.default_rng(seed))
    got, pairs = correct_spelling(written, SEEN)
    short = len(written) < 4
    assert got in (written if short else word, "able", "apple")
    assert pairs == ({} if short or written in SEEN else {written: got})


def every_edit(word):
    """Every text that is one edit of ASCII letters away. Source: Norvig 2007, "How to write a spelling corrector"."""
    parts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    removed = {a + b[1:] for a, b in parts if b}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in parts if len(b) > 1}
    changed = {a + letter + b[1:] for a, b in parts if b for letter in ascii_lowercase}
    added = {a + letter + b for a, b in parts for letter in ascii_lowercase}
    return (removed | swapped | changed | added) - {word}


@given(
    st.lists(st.text("abys", min_size=2, max_size=7), min_size=1, max_size=6), st.text("abyse", min_size=4, max_size=9)
)
def test_candidates_are_those_of_an_exhaustive_search(known, word):
    known = list(dict.fromkeys(known))
    assert unknown_words(word, [word]) == []
    is_known = {text for text in {word, *every_edit(word)} if not unknown_words(text, known)}
    meant = {text for text in is_known - {word} if text[0] == word[0]}
    got, pairs = correct_spelling(word, known)
    if word in is_known or not meant:
        assert (got, pairs) == (word, {})
    else:
        rank = {text: number for number, text in enumerate(known)}
        assert got == min(meant, key=lambda text: (rank.get(text, len(rank)), text))
        assert pairs == {word: got}


def test_letters_of_any_alphabet():
    assert correct_spelling("ein katzchen", ["kätzchen"]) == ("ein kätzchen", {"katzchen": "kätzchen"})
    assert correct_spelling("İSTANBL ſtra", ["istanbul", "straw"])[0] == "İSTANBL ſtra"


def peak_memory(function, *arguments):
    """The most bytes that Python allocated during a call."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("function", [correct_spelling, unknown_words])
def test_a_word_of_thousands_of_letters_takes_no_memory(function):
    function("aple", SEEN)  # imports
    assert peak_memory(function, "a" * 2000, SEEN) < 100_000  # 222 MB when all its edits were built
    assert peak_memory(function, "a" * 60_000, SEEN) < 2_000_000
    long = "umbrella" * 4 + "s"
    assert correct_spelling(long[:-1] + "t", [long]) == (long[:-1] + "t", {})  # 33 letters
    assert correct_spelling(long[:-2] + "t", [long[:-1]])[0] == long[:-1]


def test_every_occurrence_is_corrected_and_nothing_else():
    text = "Umbrela, UMBRELA-like umbrelas; 3umbrela umbrela3 _umbrela_"
    got, pairs = correct_spelling(text * 30, ["umbrella"])
    assert got == "umbrella, umbrella-like umbrellas; 3umbrela umbrela3 _umbrella_" * 30
    assert pairs == {"umbrela": "umbrella", "umbrelas": "umbrellas"}
