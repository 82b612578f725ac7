"""Pictures and words that find each other, ties that help nobody, and the nearest text in the training set."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.evaluate.metrics import nearest_text as nearest_text_module
from unstir.evaluate.metrics import retrieval as retrieval_module
from unstir.evaluate.metrics.nearest_text import nearest_text
from unstir.evaluate.metrics.retrieval import clip_score, recall_at_k, retrieval_recall, zero_shot_accuracy


def normal(rows, dims=16, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dims))


def test_by_hand():
    pictures = np.array([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0]])
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    got = retrieval_recall(pictures, texts, [0, 1, 1], ks=[1, 2])
    assert got.image_to_text["R@1"].successes == 2  # picture 1 is nearer to text 0
    assert got.image_to_text["R@2"].successes == 3
    assert got.image_to_text["R@1"].chance == pytest.approx(1 / 3)
    assert got.image_to_text["R@2"].chance == pytest.approx(2 / 3)
    assert (got.text_to_image["R@1"].successes, got.text_to_image["R@1"].total) == (2, 2)  # text 2 has no picture
    assert got.text_to_image["R@1"].chance == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert json.loads(json.dumps(asdict(got))) == asdict(got)


def test_texts_of_one_id_are_equally_right():
    pictures, texts = np.eye(3), np.eye(3)[[1, 0, 2]]
    assert retrieval_recall(pictures, texts, [0, 1, 2], ks=[1]).image_to_text["R@1"].successes == 1
    got = retrieval_recall(pictures, texts, [0, 1, 2], same=["apple", "apple", "pear"], ks=[1])
    assert got.image_to_text["R@1"].successes == 3
    assert got.text_to_image["R@1"].successes == 3
    assert got.image_to_text["R@1"].chance == pytest.approx((2 + 2 + 1) / 9)


def by_brute_force(asking, answers, right):
    """R@1 and R@5 with a loop and a sort; right[i]: the set of right answers."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (asking, answers)]
    hits = np.zeros(2, int)
    for i, row in enumerate(unit[0]):
        ranked = sorted(range(len(answers)), key=lambda j: -float(row @ unit[1][j]))
        hits += [ranked[0] in right[i], bool(set(ranked[:5]) & right[i])]
    return hits.tolist()


def test_by_brute_force(monkeypatch):
    monkeypatch.setattr(retrieval_module, "_CHUNK", 100)
    texts = normal(30, seed=1)
    right = np.random.default_rng(2).integers(0, 30, 50)
    pictures = texts[right] + 1.5 * normal(50, seed=3)
    ids = np.arange(30) // 2
    got = retrieval_recall(pictures, texts, right, ids)
    wanted = [{j for j in range(30) if ids[j] == ids[t]} for t in right]
    assert [got.image_to_text[k].successes for k in ("R@1", "R@5")] == by_brute_force(pictures, texts, wanted)
    asked = [t for t in range(30) if ids[t] in ids[right]]
    wanted = [{i for i in range(50) if ids[right[i]] == ids[t]} for t in asked]
    assert [got.text_to_image[k].successes for k in ("R@1", "R@5")] == by_brute_force(texts[asked], pictures, wanted)
    assert got.text_to_image["R@1"].total == len(asked)


def test_several_texts_a_picture():
    """As a picture with alternative captions: any of its own is right."""
    texts = normal(6, seed=1)
    pictures = texts[[0, 3, 5]] + 0.01 * normal(3, seed=2)
    relevant = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]
    got = recall_at_k(pictures, texts, relevant, ks=[1, 3])
    assert (got.image_to_text["R@1"].successes, got.image_to_text["R@1"].total) == (2, 3)
    assert got.image_to_text["R@1"].chance == pytest.approx((2 + 1 + 2) / 18)
    assert got.text_to_image["R@1"].total == 5  # text 3 has no picture
    wanted = [row for row in range(6) if row != 3]
    by_hand = by_brute_force(texts[wanted], pictures, [{0}, {0}, {1}, {2}, {2}])[0]
    assert got.text_to_image["R@1"].successes == by_hand
    assert got.text_to_image["R@3"].value == 1


def test_with_one_text_a_picture_both_recalls_agree():
    texts, right = normal(30, seed=1), np.random.default_rng(2).integers(0, 30, 50)
    pictures = texts[right] + 1.5 * normal(50, seed=3)
    relevant = right[:, None] == np.arange(30)
    assert recall_at_k(pictures, texts, relevant, [1, 5]) == retrieval_recall(pictures, texts, right)


def test_vectors_that_say_nothing_find_nothing():
    pictures, texts = np.repeat(normal(1), 40, axis=0), np.repeat(normal(1, seed=1), 30, axis=0)
    got = retrieval_recall(pictures, texts, np.arange(40) % 30)
    assert {one.successes for one in (*got.image_to_text.values(), *got.text_to_image.values())} == {0}


def test_random_vectors_reach_chance():
    got = retrieval_recall(normal(3000, seed=1), normal(20, seed=2), np.random.default_rng(3).integers(0, 20, 3000))
    for one in got.image_to_text.values():
        assert one.low <= one.chance <= one.high


def test_zero_shot_classification():
    classes = normal(10, seed=1)
    labels = np.random.default_rng(2).integers(0, 10, 200)
    got = zero_shot_accuracy(classes[labels] + 0.1 * normal(200, seed=3), classes, labels)
    assert (got.value, got.chance) == (1.0, pytest.approx(0.1))
    assert zero_shot_accuracy(-classes[labels], classes, labels).value == 0


def test_clip_score():
    pictures = np.array([[2.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    texts = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 0.0]])
    got = clip_score(pictures, texts)
    assert got.value == pytest.approx(100 * (1 + np.sqrt(0.5) + 0) / 3)
    assert got.low <= got.value <= got.high
    assert got == clip_score(pictures, texts)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_lengths_do_not_matter(seed, scale):
    pictures, texts = normal(12, 4, seed), normal(7, 4, seed + 1)
    right = np.arange(12) % 7
    assert retrieval_recall(pictures, texts, right) == retrieval_recall(scale * pictures, texts / scale, right)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval_recall(normal(4), normal(6), [0, 1, 2]), "must be 4 rows of the 6"),
        (lambda: retrieval_recall(normal(2), normal(6), [0, 6]), "must be 2 rows of the 6"),
        (lambda: retrieval_recall(normal(2), normal(6), [0.0, 1.0]), "must be 2 rows of the 6"),
        (lambda: retrieval_recall(normal(6), normal(6, 4), np.arange(6)), "16 and 4 dimensions"),
        (lambda: retrieval_recall(normal(6), normal(3), np.arange(6) % 3), "between 1 and 3"),
        (lambda: retrieval_recall(normal(6), normal(6), np.arange(6), same=[1, 2]), r"must be \(6,\)"),
        (lambda: retrieval_recall(np.zeros((6, 3)), normal(6, 3), np.arange(6)), "a row of zeros"),
        (lambda: clip_score(normal(6), normal(5)), "needs its own"),
        (lambda: recall_at_k(normal(6), normal(5), np.ones((5, 6))), r"must be \(6, 5\)"),
        (lambda: recall_at_k(normal(6), normal(5), np.zeros((6, 5))), "with a pair in it"),
        (lambda: nearest_text(normal(6), normal(5, 3)), "16 and 3 dimensions"),
        (lambda: nearest_text(normal(6), normal(5), [0, 1]), "5 whole numbers"),
        (lambda: nearest_text(normal(6), normal(5), [0.5] * 5), "5 whole numbers"),
    ],
)
def test_what_does_not_fit_together_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_nearest_text(monkeypatch):
    monkeypatch.setattr(nearest_text_module, "_CHUNK", 64)
    captions, prompts = normal(40, seed=1), normal(25, seed=2)
    got = nearest_text(prompts, captions)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (prompts, captions)]
    cosines = unit[0] @ unit[1].T
    assert list(got.rows) == cosines.argmax(1).tolist()
    np.testing.assert_allclose(got.cosines, cosines.max(1), rtol=1e-12)


def test_the_lowest_row_wins_among_equal_captions():
    captions = normal(6, seed=1)[[0, 1, 2, 2, 1, 0]]
    captions[0] *= 1 + 1e-7  # the same caption, encoded in another batch
    captions[5, 0] += 1e-8
    assert nearest_text(captions, captions).rows == (0, 1, 2, 2, 1, 0)
    # A training picture has several captions; rows need not be in order, nor without gaps.
    assert nearest_text(captions[:3], captions, rows=[9, 9, 4, 3, 7, 8]).rows == (8, 7, 3)
