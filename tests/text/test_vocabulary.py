"""Which words a model knows, and what is said of the others."""

from unstir.text.vocabulary import told, unknown_words, vocabulary, words_of

KNOWN = vocabulary(["red apple, fluent 3d", "a man’s shoe", "butterfly", "leaf", "box", "xylophone", "red umbrella"])


def test_words():
    assert words_of("Red APPLE, fluent_3D!") == ["red", "apple", "fluent", "3d"]
    assert sorted(KNOWN) == KNOWN
    assert "shoe" in KNOWN
    assert vocabulary(["a b", "a"], least=2) == ["a"]


def test_known_words_and_their_plurals_raise_no_word():
    assert unknown_words("Two? red apples, butterflies, leaves and boxes", [*KNOWN, "two", "and"]) == []


def test_unknown_words_come_once_with_their_neighbours():
    found = dict(unknown_words("a xylem umbrela and a xylem", [*KNOWN, "and"]))
    assert list(found) == ["xylem", "umbrela"]
    assert found["umbrela"] == ["umbrella"]
    assert told([("umbrela", ["umbrella"]), ("qqq", [])]) == [
        "no picture of 'umbrela' was in the training words; nearest: umbrella",
        "no picture of 'qqq' was in the training words",
    ]
