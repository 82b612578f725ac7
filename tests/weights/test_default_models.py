"""The model that ships: its size, its card, and that it draws what it is asked for."""

import re
from pathlib import Path

import pytest

from unstir.models.generative import final
from unstir.recipes.icons import CONCEPTS, STYLE_WORDS
from unstir.weights.model_file import DEFAULT, load_model


@pytest.fixture(scope="module")
def loaded():
    return load_model(DEFAULT)


def drawn(loaded, prompt, seeds=range(3)):
    """Colour (mean over visible pixels, 0 … 255) and the share of pixels that are visible, over a few seeds."""
    pictures = final(loaded.model.draw([prompt] * len(seeds), list(seeds), loaded.settings)).astype(float)
    alpha = pictures[..., 3:] / 255
    return (pictures[..., :3] * alpha).sum((0, 1, 2)) / alpha.sum(), alpha.mean()


def test_size_and_notes(loaded):
    assert DEFAULT.stat().st_size <= 30_000_000
    assert loaded.notes["name"] == "icons"
    assert loaded.notes["styles"] == list(STYLE_WORDS)
    assert loaded.model.shape[0] == 4


def test_the_card_names_data_licence_cost_and_limits():
    card = Path(DEFAULT).with_suffix(".md").read_text(encoding="utf-8")
    assert "@@" not in card
    for word in ("Fluent Emoji", "Twemoji", "CC-BY-4.0", "MIT", "ISC", "Apache-2.0", "H200", "Limitations"):
        assert word in card
    assert re.search(r"[\d.]+ M pictures", card)


def test_every_concept_of_the_sheet_fits_the_words(loaded):
    for concept in CONCEPTS:
        loaded.model.tokenize([f"{concept}, {style}" for style in STYLE_WORDS])


def test_colours_follow_the_words_and_the_ground_is_transparent(loaded):
    apple, apple_share = drawn(loaded, "red apple, fluent 3d")
    tree, tree_share = drawn(loaded, "evergreen tree, noto")
    banana, _ = drawn(loaded, "banana, twemoji")
    line, line_share = drawn(loaded, "house, lucide line icon")
    assert apple.argmax() == 0
    assert apple[0] > 1.5 * apple[1:].max()
    assert tree.argmax() == 1
    assert banana[2] < 0.6 * banana[:2].min()
    assert 0.1 < apple_share < 0.95
    assert 0.05 < tree_share < 0.95
    assert line.max() < 30
    assert 0.05 < line_share < 0.6
