from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from unstir.data.shapes import (
    BACKGROUND,
    COLOURS,
    FORMS,
    HELD_OUT_PAIRS,
    HELD_OUT_RELATIONS,
    RELATIONS,
    SIZES,
    SKILLS,
    ShapeScene,
    Thing,
    caption,
    has_held_out,
    parse,
    random_scene,
    render,
    shape_pictures,
)
from unstir.data.shapes_check import check_caption, components, detect_things

things = st.builds(Thing, st.sampled_from(sorted(COLOURS)), st.sampled_from(FORMS), st.sampled_from([None, *SIZES]))
scenes = st.builds(ShapeScene, things, st.integers(1, 4)) | st.builds(
    ShapeScene, things, st.just(1), st.sampled_from(sorted(RELATIONS)), things
)


def rng(*seed):
    return np.random.default_rng(list(seed))


@given(scenes)
def test_parse_undoes_caption(scene):
    assert parse(caption(scene)) == scene


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (ShapeScene(Thing("red", "circle", "small")), "a small red circle"),
        (ShapeScene(Thing("orange", "cross")), "an orange cross"),
        (ShapeScene(Thing("orange", "cross", "large")), "a large orange cross"),
        (ShapeScene(Thing("blue", "square"), 3), "three blue squares"),
        (ShapeScene(Thing("pink", "cross", "small"), 2), "two small pink crosses"),
        (
            ShapeScene(Thing("red", "circle"), 1, "left of", Thing("blue", "square")),
            "a red circle left of a blue square",
        ),
        (
            ShapeScene(Thing("green", "triangle", "large"), 1, "above", Thing("yellow", "square", "small")),
            "a large green triangle above a small yellow square",
        ),
    ],
)
def test_grammar(scene, words):
    assert caption(scene) == words
    assert parse(words) == scene


@pytest.mark.parametrize(
    "words",
    [
        "",
        "a",
        "circle",
        "a circle",
        "a orange circle",
        "an red circle",
        "a red circle ",
        "a tiny red circle",
        "a red hexagon",
        "two red circle",
        "one red circle",
        "a red circles",
        "five red circles",
        "two red circles left of a blue square",
        "a red circle beside a blue square",
        "a red circle left of",
        "A red circle",
        "two pink crosss",
        "a red circle left of a blue square left of a red circle",
    ],
)
def test_other_words_are_refused(words):
    with pytest.raises(ValueError):
        parse(words)


def test_scenes_that_make_no_sense():
    red, blue = Thing("red", "circle"), Thing("blue", "circle")
    for arguments in (
        (red, 0),
        (red, 5),
        (red, 1, "left of"),
        (red, 1, None, blue),
        (red, 2, "and", blue),
        (red, 1, "on", blue),
    ):
        with pytest.raises(ValueError):
            ShapeScene(*arguments)


def test_held_out_combinations():
    for values in zip(*HELD_OUT_PAIRS, strict=True):
        assert all(list(values).count(value) <= 2 for value in values)  # every word is still seen in other pairs
    for first, relation, second in HELD_OUT_RELATIONS:
        a, b = Thing("pink", first), Thing("black", second)
        assert has_held_out(ShapeScene(a, 1, relation, b))
        assert has_held_out(ShapeScene(b, 1, RELATIONS[relation], a))  # the same picture by the opposite relation
        assert not has_held_out(ShapeScene(a, 1, "and", b))
        assert not has_held_out(ShapeScene(a, 1, RELATIONS[relation], b))
    assert has_held_out(ShapeScene(Thing("red", "triangle"), 3))
    assert has_held_out(ShapeScene(Thing("pink", "circle"), 1, "and", Thing("red", "triangle")))


def test_splits_are_disjoint_and_training_shows_everything_else():
    train, test = shape_pictures(2400, 8), shape_pictures(400, 8, held_out=True)
    seen = [parse(words[0]) for words in train.captions]
    assert not any(has_held_out(scene) for scene in seen)
    assert all(has_held_out(parse(words[0])) for words in test.captions)
    assert not set(train.captions) & set(test.captions)
    pairs = {(thing.colour, thing.form) for scene in seen for thing in scene.things}
    assert pairs == set(product(COLOURS, FORMS)) - HELD_OUT_PAIRS
    assert {meta["skill"] for meta in train.meta} == set(SKILLS)
    assert {scene.count for scene in seen} == {1, 2, 3, 4}
    assert {scene.relation for scene in seen} == {None, *RELATIONS}
    assert not set(train.keys) & set(test.keys)
    whole = {(s.first.form, s.relation, s.second.form) for s in map(parse, (w[0] for w in test.captions)) if s.second}
    assert whole >= HELD_OUT_RELATIONS


def test_a_longer_set_begins_with_the_shorter():
    assert shape_pictures(12, 16, 3).sha256() == shape_pictures(30, 16, 3).take(range(12)).sha256()
    assert (
        len({shape_pictures(4, 16, seed, part).sha256() for seed in (0, 1, 2**64 - 1) for part in (False, True)}) == 6
    )
    assert len(shape_pictures(0)) == 0


def test_render_is_antialiased_on_a_plain_ground():
    picture = render(ShapeScene(Thing("black", "circle", "large")), 64, rng(1))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert (picture[0] == BACKGROUND).all()
    exact = (picture == BACKGROUND).all(-1) | (picture == COLOURS["black"]).all(-1)
    assert 20 < (~exact).sum() < 150  # a rim about one pixel wide
    share = (np.array(BACKGROUND)[0] - picture[..., 0].astype(float)).sum() / (245 - 30) / 64**2
    assert np.pi * 0.185**2 - 0.001 < share < np.pi * 0.205**2 + 0.001


def test_colours_are_well_separated():
    values = [np.array(value) for value in (*COLOURS.values(), BACKGROUND)]
    assert min(np.linalg.norm(a - b) for i, a in enumerate(values) for b in values[:i]) > 85


@pytest.mark.parametrize(("size", "count"), [(32, 1200), (33, 200), (48, 200), (64, 120), (100, 40)])
@pytest.mark.parametrize("part", [False, True])
def test_clean_renders_are_read_without_a_mistake(size, count, part):
    pictures = shape_pictures(count, size, seed=size, held_out=part)
    wrong = [
        words[0]
        for pixels, words in zip(pictures.pixels, pictures.captions, strict=True)
        if not check_caption(pixels, words[0]).right
    ]
    assert wrong == []


def test_clean_renders_of_every_single_kind():
    for colour, form, size in product(COLOURS, FORMS, SIZES):
        for scene in (ShapeScene(Thing(colour, form, size)), ShapeScene(Thing(colour, form, size), 4)):
            found = detect_things(render(scene, 32, rng(len(caption(scene)), scene.count)))
            assert [(f.colour, f.form, f.size) for f in found] == [(colour, form, size)] * scene.count


@pytest.mark.parametrize("part", [False, True])
def test_noise_and_blur_are_tolerated(part):
    pictures = shape_pictures(600, 32, seed=11, held_out=part)
    right = 0
    for i, (pixels, words) in enumerate(zip(pictures.pixels, pictures.captions, strict=True)):
        soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.7)), dtype=float)
        noisy = np.rint(soft + rng(i).normal(0, 8, soft.shape)).clip(0, 255).astype(np.uint8)
        right += check_caption(noisy, words[0]).right
    assert right / 600 >= 0.99


def test_another_background_is_tolerated():
    pictures = shape_pictures(80, 32, seed=5)
    shifted = (pictures.pixels.astype(int) - 12).clip(0, 255).astype(np.uint8)
    assert all(check_caption(pixels, words[0]).right for pixels, words in zip(shifted, pictures.captions, strict=True))


def test_positions_are_found():
    for relation, sign in (("left of", -1), ("right of", 1)):
        scene = ShapeScene(Thing("red", "triangle"), 1, relation, Thing("blue", "square"))
        found = {f.colour: f for f in detect_things(render(scene, 64, rng(3)))}
        assert np.sign(found["red"].x - found["blue"].x) == sign
    covered = render(ShapeScene(Thing("black", "circle")), 64, rng(4)) < 100
    rows, columns = np.nonzero(covered[..., 0])
    (found,) = detect_things(render(ShapeScene(Thing("black", "circle")), 64, rng(4)))
    assert abs(found.x - (columns.mean() + 0.5) / 64) < 0.005
    assert abs(found.y - (rows.mean() + 0.5) / 64) < 0.005


def paint(words, seed=0, size=32):
    return render(parse(words), size, rng(seed))


def test_the_check_names_what_is_wrong():
    def parts(drawn, said):
        judged = check_caption(paint(drawn), said)
        names = ("count", "colour", "form", "things", "size", "relation")
        assert judged.right == all(getattr(judged, name) for name in names)
        return {name for name in names if not getattr(judged, name)}

    assert parts("a red circle", "a red circle") == set()
    assert parts("a small red circle", "a red circle") == set()
    assert parts("a small red circle", "a large red circle") == {"size"}
    assert parts("a red circle", "a blue circle") == {"colour", "things", "size", "relation"}
    assert parts("a red circle", "a red square") == {"form", "things", "size", "relation"}
    assert "count" in parts("three red circles", "two red circles")
    left = "a red circle left of a blue square"
    assert parts(left, "a blue square right of a red circle") == set()
    assert parts(left, "a red circle right of a blue square") == {"relation"}
    assert parts(left, "a red circle above a blue square") == {"relation"}
    assert parts(left, "a blue square and a red circle") == set()
    swapped = parts(left, "a blue circle left of a red square")  # colours and forms are there, in the wrong pairs
    assert swapped == {"things", "size", "relation"}


def test_sizes_and_positions_must_hold_for_the_same_things():
    drawn = paint("a small red circle left of a large red circle")
    assert check_caption(drawn, "a large red circle right of a small red circle").right
    assert not check_caption(drawn, "a large red circle left of a small red circle").right


def test_what_is_no_shape_is_not_taken_for_one():
    blank = np.full((32, 32, 3), BACKGROUND, np.uint8)
    assert detect_things(blank) == []
    assert not check_caption(blank, "a red circle").right
    speck = blank.copy()
    speck[5, 5] = speck[9, 9] = (0, 0, 0)
    assert detect_things(speck) == []
    stroke = blank.copy()
    stroke[15:17, 4:28] = COLOURS["red"]
    assert [f.form for f in detect_things(stroke)] == ["unclear"]
    grey = blank.copy()
    grey[8:20, 8:20] = 140
    assert [(f.colour, f.form) for f in detect_things(grey)] == [("unclear", "square")]
    static = rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for words in ("a red circle", "two blue squares"):
        assert not check_caption(static, words).right


def test_components_by_hand():
    mask = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 1, 1]], bool)
    assert components(mask).tolist() == [[1, 1, 0, 2], [0, 1, 0, 2], [3, 0, 2, 2]]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=6))
def test_components_are_connected_and_apart(rows):
    mask = np.array(rows)
    labels = components(mask)
    assert np.array_equal(labels > 0, mask)
    assert set(np.unique(labels[mask])) == set(range(1, labels.max() + 1))
    for axis in (0, 1):  # neighbours that share an edge share the label
        a, b = (np.take(labels, range(i, labels.shape[axis] - 1 + i), axis) for i in (0, 1))
        assert ((a == b) | (a == 0) | (b == 0)).all()


def test_refusals():
    with pytest.raises(ValueError, match="skills"):
        random_scene("dance", rng(0))
    with pytest.raises(ValueError, match="shape"):
        detect_things(np.zeros((32, 32, 4), np.uint8))
    with pytest.raises(ValueError, match="there is no"):
        Thing("red", "star")
