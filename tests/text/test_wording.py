"""Plurals, articles and slips."""

import numpy as np
import pytest

from unstir.scenes.phrases import misspelt, plural, with_article


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("red apple", "red apples"),
        ("slice of pizza", "slices of pizza"),
        ("box", "boxes"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("woman with hat", "women with hat"),
        ("fish", "fish"),
        ("glass", "glasses"),
        ("cactus", "cactuses"),
        ("scissors", "scissors"),
        ("maple leaf", "maple leaves"),
        ("mouse", "mice"),
        ("sandwich", "sandwiches"),
    ],
)
def test_plural(one, many):
    assert plural(one) == many


def test_article():
    assert with_article("apple") == "an apple"
    assert with_article("cat") == "a cat"


def test_slips_change_one_long_word_by_at_most_one_letter_more_or_less():
    text = "a red umbrella, fluent 3d"
    seen = set()
    for seed in range(200):
        slipped = misspelt(text, np.random.default_rng(seed))
        words, were = slipped.split(" "), text.split(" ")
        assert len(words) == len(were)
        changed = [(a, b) for a, b in zip(words, were, strict=True) if a != b]
        assert len(changed) <= 1
        for a, b in changed:
            assert len(b) >= 4
            assert abs(len(a) - len(b)) <= 1
            assert a[0] == b[0]
        seen.add(slipped)
    assert len(seen) > 20
    assert misspelt("a cat", np.random.default_rng(0)) == "a cat"
