"""Each skill is measured by what its definition says: pictures drawn right, and drawn wrong in one way at a time."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from unstir.data.shapes import random_scene, render
from unstir.data.shapes_scene import HELD_OUT_PAIRS, ShapeScene, Thing
from unstir.evaluate.metrics.composition import composition


def rng():
    return np.random.default_rng(0)


def drawn(*scenes):
    return [render(scene, 48, rng()) for scene in scenes]


RED, BLUE = Thing("red", "circle"), Thing("blue", "square")
BESIDE = ShapeScene(RED, 1, "left of", BLUE)


def test_right_pictures_are_right_in_every_line():
    scenes = [
        random_scene(skill, np.random.default_rng(i))
        for skill in ("single", "two", "count", "relation")
        for i in range(6)
    ]
    scenes += [
        random_scene(skill, np.random.default_rng(i), True) for skill in ("single", "relation") for i in range(4)
    ]
    got = composition(drawn(*scenes), scenes)
    assert {one.value for one in (*got.as_trained.values(), *got.held_out.values())} == {1.0}
    assert got.as_trained["right"].total == 24
    assert got.held_out["right"].total == 8
    assert got.as_trained["right/count"].total == got.as_trained["counting"].total == 6
    assert got.as_trained["two"].total == 12
    assert "counting" not in got.held_out
    assert got.as_trained["binding"].chance == 0.5
    assert json.loads(json.dumps(asdict(got))) == asdict(got)


def lines(scene, shown):
    """Which lines hold when `shown` is drawn for `scene`."""
    return {line: one.value == 1 for line, one in composition(drawn(shown), [scene]).as_trained.items()}


def test_mixed_up_colours_fail_binding_only_where_that_can_be_seen():
    mixed = ShapeScene(Thing("blue", "circle"), 1, "left of", Thing("red", "square"))
    got = lines(BESIDE, mixed)
    assert got == {
        "two": True, "colour": True, "relation": False, "binding": False, "right": False, "right/relation": False,
    }  # fmt: skip
    # A wrong colour is no question of binding, nor are two things of one colour.
    assert "binding" not in lines(BESIDE, ShapeScene(Thing("pink", "circle"), 1, "left of", BLUE))
    alike = ShapeScene(RED, 1, "and", Thing("red", "square"))
    assert "binding" not in lines(alike, alike)


def test_a_relation_the_wrong_way_round():
    got = lines(BESIDE, ShapeScene(RED, 1, "right of", BLUE))
    assert got == {
        "two": True, "colour": True, "relation": False, "binding": True, "right": False, "right/relation": False,
    }  # fmt: skip


def test_counting_looks_at_number_and_form():
    three = ShapeScene(RED, 3)
    assert lines(three, ShapeScene(RED, 2)) == dict.fromkeys(("counting", "colour", "right", "right/count"), False)
    got = lines(three, ShapeScene(Thing("pink", "circle"), 3))
    assert (got["counting"], got["colour"], got["right"]) == (True, False, False)
    assert not lines(three, ShapeScene(Thing("red", "square"), 3))["counting"]


def test_a_wrong_size_fails_the_whole_only():
    got = lines(ShapeScene(Thing("red", "circle", "small")), ShapeScene(Thing("red", "circle", "large")))
    assert got == {"single": True, "colour": True, "right": False, "right/single": False}


def test_an_empty_picture_is_right_in_nothing():
    scenes = [ShapeScene(RED), BESIDE, ShapeScene(RED, 3)]
    got = composition([np.full((32, 32, 3), 245, np.uint8)] * 3, scenes).as_trained
    assert {one.value for one in got.values()} == {0.0}
    assert "binding" not in got


def test_the_split_is_that_of_the_scenes():
    pair = Thing(*sorted(HELD_OUT_PAIRS)[0])
    got = composition(drawn(ShapeScene(pair), ShapeScene(RED)), [ShapeScene(pair), ShapeScene(RED)])
    assert (got.held_out["single"].total, got.as_trained["single"].total) == (1, 1)


def test_numbers_must_agree():
    with pytest.raises(ValueError, match="1 pictures for 2 scenes"):
        composition(drawn(BESIDE), [BESIDE, BESIDE])
