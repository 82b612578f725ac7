"""Likelihood: seen and held-out pictures are compared in pairs of one style, with an interval."""

import numpy as np
import pytest

from unstir.data.shapes import shape_pictures
from unstir.evaluate.metrics import likelihood
from unstir.evaluate.metrics.likelihood import bits_per_dim_of, compare_likelihood, style_matched_pairs
from unstir.evaluate.report.sections import likelihood_section
from unstir.evaluate.run.held_out import HeldOutSplit
from unstir.evaluate.run.inputs import Inputs
from unstir.evaluate.run.progress import no_progress
from unstir.evaluate.run.real_pictures import RealPictures
from unstir.models.diffusion import Batch
from unstir.models.pixels import to_model


def test_pairs_are_of_one_style_and_use_no_picture_twice():
    held_out, seen = list("aabbbcd"), list("bbacaaab")
    first, second = style_matched_pairs(held_out, seen)
    assert [held_out[row] for row in first] == [seen[row] for row in second] == list("aabbbc")
    assert len(set(first.tolist())) == len(set(second.tolist())) == 6
    first, second = style_matched_pairs(held_out, seen, count=2)
    assert first.tolist() == [0, 1]
    assert second.tolist() == [2, 4]
    assert style_matched_pairs(["a"], ["b"])[0].tolist() == []
    assert style_matched_pairs([None, None], [None])[0].tolist() == [0]


def test_the_paired_difference_is_narrower_than_its_sides():
    rng = np.random.default_rng(0)
    style = rng.normal(3, 1, 64)
    found = compare_likelihood(
        style + rng.normal(0, 0.1, 64), style + rng.normal(0, 0.1, 64), [str(i) for i in range(64)]
    )
    assert found.difference.low < 0 < found.difference.high
    assert found.difference.high - found.difference.low < 0.2 * (found.seen.high - found.seen.low)
    assert compare_likelihood(style, None, ["a"] * 64).difference is None


def section(styles, seen):
    """The section for pictures that need 4 bits in style "rich" and 1 in any other, and nothing for being seen."""
    pictures = shape_pictures(len(styles), 32, 4)
    for meta, style in zip(pictures.meta, styles, strict=True):
        meta["phrase"] = style
    split = HeldOutSplit(np.flatnonzero(seen), np.flatnonzero(~seen))
    real = RealPictures("test", pictures, split)

    def bits(some, seeds, done):
        assert len(some) == len(seeds)
        done(len(some))
        return np.array([4.0 if meta["phrase"] == "rich" else 1.0 for meta in some.meta]) + np.sin(seeds) / 100

    inputs = Inputs(real, [], pictures.pixels[:0], pictures.keys, [], None, 0)
    [table] = likelihood_section(inputs, bits, no_progress).tables
    return {row["name"]: row for row in table["rows"]}, table["note"]


def test_another_mix_of_styles_does_not_look_like_memorisation():
    """Held-out pictures of a style that needs more bits, as 2.4 against 1.8 bits came about."""
    seen = np.arange(200) >= 40
    styles = ["rich" if (i < 30 if i < 40 else i % 4 == 0) else "plain" for i in range(200)]
    rows, note = section(styles, seen)
    assert rows["held-out pictures"]["value"] == pytest.approx(rows["seen pictures"]["value"])
    assert rows["held-out less seen"]["value"] == pytest.approx(0, abs=1e-9)
    assert rows["held-out pictures"]["interval"][0] < rows["held-out pictures"]["value"]
    assert note.startswith("An upper bound for 40 real pictures")
    assert "paired with a seen one of the same style" in note


def test_without_styles_the_note_says_so():
    rows, note = section([None] * 200, np.arange(200) >= 100)
    assert note.startswith("An upper bound for 64 real pictures")
    assert "Nothing is known of the pictures' styles" in note
    assert set(rows) == {"held-out pictures", "seen pictures", "held-out less seen"}
    rows, _ = section([None] * 20, np.ones(20, dtype=bool))
    assert list(rows) == ["seen pictures"]


def test_the_likelihood_by_the_ode_beside_the_bound():
    pictures = shape_pictures(40, 32, 4)
    split = HeldOutSplit(np.arange(30), np.arange(30, 40))
    inputs = Inputs(RealPictures("test", pictures, split), [], pictures.pixels[:0], pictures.keys, [], None, 0)

    def bound(some, seeds, done):
        return np.array([float(row["i"]) for row in some.meta])

    def flow(some, seeds, done):
        assert len(some) == len(seeds) == 3
        return bound(some, seeds, done) - 0.25

    for i, meta in enumerate(pictures.meta):
        meta["i"] = i
    [table] = likelihood_section(inputs, bound, no_progress, flow, 3).tables
    rows = {row["name"]: row["value"] for row in table["rows"]}
    for side in ("held-out", "seen"):
        assert rows[f"{side}, by the ODE"] == pytest.approx(rows[f"{side}, the same by the bound"] - 0.25)
    assert rows["seen, the same by the bound"] < 30 <= rows["held-out, the same by the bound"]
    assert "By the ODE: 3 pictures of either side" in table["note"]


def test_bits_per_dimension_of_each_picture(model):
    pictures = shape_pictures(3, 32, 4)
    steps = []
    bits = bits_per_dim_of(model)(pictures, [0, 1, 2], steps.append)
    assert steps == [1, 2, 3]
    assert np.isfinite(bits).all()
    x0 = to_model(torch_of(pictures.pixels))
    whole = model.bits_per_dim(Batch(x0, model.tokenize([ways[0] for ways in pictures.captions])), [0, 1, 2], steps=25)
    assert bits.mean() == pytest.approx(whole.total, rel=1e-4)
    assert likelihood.COUNT == 64


def torch_of(pixels):
    import torch

    return torch.from_numpy(np.array(pixels))
