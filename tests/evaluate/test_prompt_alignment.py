"""What prompt alignment counts, on embeddings made for it."""

import numpy as np
import pytest

from unstir.evaluate.metrics.prompt_alignment import (
    BOTH,
    CAPTION,
    CAPTION_OF_ALL,
    CLIP_SCORE,
    CaptionIndex,
    prompt_targets,
)
from unstir.evaluate.report.alignment_section import alignment_rows

NAMES = ("cat", "dog", "sun", "key", "car", "cow")
STYLES = ("flat", "round")


def embed(texts):
    """A unit vector whose numbers say which names and styles are in the text."""
    vectors = np.array([[float(word in text) for word in (*NAMES, *STYLES)] for text in texts], dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


METAS = [{"name": name, "phrase": style} for name in NAMES for style in STYLES]
CAPTIONS = [f"{meta['name']}, {meta['phrase']}" for meta in METAS]


ALL = [*CAPTIONS, "cat", "flat", "round"]
INDEX = CaptionIndex({text: i for i, text in enumerate(ALL)}, embed(ALL))


def targets_of(captions, metas, styles=STYLES, index=INDEX):
    return prompt_targets(captions, metas, styles, [str(i) for i in range(len(captions))], index, embed)


@pytest.fixture
def targets():
    return targets_of(CAPTIONS, METAS)


def test_perfect_pictures(targets):
    rows = {row["name"]: row for row in alignment_rows(targets, embed(CAPTIONS), embed(CAPTIONS), None)}
    assert list(rows) == [
        *(CLIP_SCORE, CAPTION, "caption R@5", CAPTION_OF_ALL, "caption R@5 of all"),
        *("concept R@1", "concept R@5", "style", BOTH),
    ]
    assert rows[CLIP_SCORE]["value"] == pytest.approx(100, abs=1e-4)
    assert {row["value"] for name, row in rows.items() if name != CLIP_SCORE} == {1.0}
    assert rows[CAPTION]["chance"] == 1 / 12
    assert rows["concept R@5"]["chance"] == 5 / 6
    assert rows["style"]["chance"] == 1 / 2
    assert rows[CAPTION_OF_ALL]["chance"] == 1 / 15
    assert rows[BOTH]["chance"] == 1 / 12
    assert 0 < rows[CLIP_SCORE]["chance"] < 50
    assert rows["style"]["ceiling"] == 1
    assert rows["style"]["baseline"] is None


def test_the_right_thing_in_the_wrong_style(targets):
    other = embed([f"{meta['name']}, {STYLES[1 - STYLES.index(meta['phrase'])]}" for meta in METAS])
    rows = {row["name"]: row["value"] for row in alignment_rows(targets, other, embed(CAPTIONS), embed(CAPTIONS))}
    assert rows[CAPTION] == rows[CAPTION_OF_ALL] == rows["style"] == rows[BOTH] == 0
    assert rows["concept R@1"] == 1
    assert rows[CLIP_SCORE] == pytest.approx(50, abs=1e-4)


def test_only_among_all_captions_is_a_picture_of_another_caption_wrong():
    """Of "cat, flat" and "dog, round" a picture of "cat, round" is nearer to the first; among all it finds its own."""
    few = targets_of(["cat, flat", "dog, flat"], [METAS[0], METAS[2]])
    scores = few.scores(embed(["cat", "dog, round"]))
    assert scores[CAPTION].tolist() == [1, 1]
    assert scores[CAPTION_OF_ALL].tolist() == [0, 0]


def test_what_metadata_do_not_tell_is_left_out():
    names = [CLIP_SCORE, CAPTION, "caption R@5"]
    index = CaptionIndex({text: i for i, text in enumerate(CAPTIONS)}, embed(CAPTIONS))
    plain = targets_of(CAPTIONS, [{}] * 12, [], index)
    assert [row["name"] for row in alignment_rows(plain, embed(CAPTIONS), embed(CAPTIONS), None)] == names
    partly = targets_of(CAPTIONS, [{"name": "cat"}, *[{}] * 11], ["flat"], index)
    assert partly.concepts is partly.styles is partly.all_captions is None
    same = targets_of(["cat"] * 3, [{}] * 3, [], CaptionIndex({"cat": 0}, embed(["cat"])))
    assert [row["name"] for row in alignment_rows(same, embed(["cat"] * 3), embed(["cat"] * 3), None)] == [CLIP_SCORE]


def test_equal_captions_are_one():
    twice = targets_of(CAPTIONS * 2, METAS * 2)
    assert len(twice.captions.names) == 12
    assert twice.scores(embed(CAPTIONS * 2))[CAPTION].mean() == 1
