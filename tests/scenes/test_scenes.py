"""Scenes: what is said is what is painted, and a batch is a function of the training clock."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.data.pictures import Pictures
from unstir.models.pixels import to_model
from unstir.models.process_group import ProcessGroup
from unstir.scenes import batches
from unstir.scenes.batches import BatchPlanner, SceneBatches, drawings_of
from unstir.scenes.compose import compose, scene_arrays
from unstir.scenes.planner import RELATIONS, SceneMix, ScenePlanner
from unstir.scenes.scene import NamedThing, Placed, Scene, drawn_box
from unstir.text.tokenizer import Tokenizer

SIDE = 32
COLOURS = {"red disc": (255, 0, 0), "green disc": (0, 255, 0), "blue disc": (0, 0, 255)}


def discs():
    """Three discs of one style, in the middle of transparent pictures."""
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (x - SIDE / 2 + 0.5) ** 2 + (y - SIDE / 2 + 0.5) ** 2 < (SIDE * 0.4) ** 2
    pixels = np.zeros((3, SIDE, SIDE, 4), np.uint8)
    meta = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        pixels[i][inside] = (*colour, 255)
        meta.append({"name": name, "tags": ["round", name], "phrase": "plain", "style": "plain", "thing": True})
    return Pictures(pixels, [(f"{name}, plain",) for name in COLOURS], list(COLOURS), meta)


@pytest.fixture
def drawings():
    return drawings_of(discs())


def painted(scene):
    return compose(torch.from_numpy(discs().pixels), scene_arrays([scene]))[0]


def middle_of(picture, channel):
    """Where this colour is painted: centre (x, y) and area, as shares of the side."""
    where = (picture[channel] > 0) & (picture[3] > 0)
    y, x = torch.nonzero(where, as_tuple=True)
    return (x.float().mean() + 0.5).item() / SIDE, (y.float().mean() + 0.5).item() / SIDE, where.float().mean().item()


def test_what_is_known_of_drawings(drawings):
    assert drawings[0].name == "red disc"
    assert drawings[0].synonyms == ("round",)
    assert drawings[0].box == pytest.approx((0.1, 0.1, 0.9, 0.9), abs=0.04)
    assert drawn_box(np.zeros((8, 8), np.uint8)) == (0, 0, 1, 1)


def test_a_single_drawing_is_painted_bit_for_bit(drawings):
    pixels = torch.from_numpy(discs().pixels)
    scene = Scene("", (Placed(1, 1.0, 0.0, 0.0),), None)
    assert torch.equal(compose(pixels, scene_arrays([scene]))[0], to_model(pixels[1:2])[0])


@pytest.mark.parametrize("kind", RELATIONS)
def test_relations_are_painted_as_they_are_said(drawings, kind):
    maker = ScenePlanner(drawings, SceneMix(0, 0, 1, 0, 0, 0))
    found = 0
    for seed in range(200):
        scene = maker.scene(0, np.random.default_rng(seed))
        way = next((w for w in sorted(RELATIONS[kind][0], key=len, reverse=True) if f" {w} " in scene.caption), None)
        if way is None:
            continue
        names = [name for name in COLOURS if name in scene.caption]
        if len(names) < 2:  # one was called by its synonym
            continue
        found += 1
        before, after = scene.caption.split(f" {way} ", 1)
        a = next(i for i, name in enumerate(COLOURS) if name in before)
        b = next(i for i, name in enumerate(COLOURS) if name in after)
        picture = painted(scene)
        (ax, ay, _), (bx, by, _) = middle_of(picture, a), middle_of(picture, b)
        right = {"left": ax < bx - 0.2, "right": ax > bx + 0.2, "below": ay > by + 0.2}
        assert right.get(kind, ay < by - 0.2), scene.caption
    assert found > 5


def test_what_stands_on_something_touches_it(drawings):
    maker = ScenePlanner(drawings, SceneMix(0, 0, 1, 0, 0, 0))
    for seed in range(300):
        scene = maker.scene(0, np.random.default_rng(seed))
        if " on " in scene.caption and " to the " not in scene.caption:
            (low, high), rows = scene.placed, [placed.row for placed in scene.placed]
            bottom = high.y + high.scale * drawings[rows[1]].box[3]
            top = low.y + low.scale * drawings[rows[0]].box[1]
            assert 0 <= bottom - top < 0.05


def test_counts(drawings):
    maker = ScenePlanner(drawings, SceneMix(1, 0, 0, 0, 0, 0))
    for seed in range(60):
        scene = maker.scene(2, np.random.default_rng(seed))
        number = len(scene.placed)
        assert 2 <= number <= 4
        words = scene.caption.split()
        said = [n for n, word in ((2, "two"), (3, "three"), (4, "four")) if word in words or str(n) in words]
        assert said in ([number], [])
        assert "blue discs" in scene.caption
        one = middle_of(painted(Scene("", scene.placed[:1], None)), 2)[2]
        assert middle_of(painted(scene), 2)[2] == pytest.approx(number * one, rel=0.25)


def test_backgrounds(drawings):
    maker = ScenePlanner(drawings, SceneMix(0, 0, 0, 1, 0, 0))
    scene = maker.scene(0, np.random.default_rng(5))
    assert "background" in scene.caption
    picture = painted(scene)
    assert (picture[3] == 1).all()
    corner = (picture[:3, 0, 0] + 1) / 2 * 255
    assert corner.tolist() == pytest.approx(scene.background, abs=0.6)


def test_scenes_whose_caption_is_too_long_are_not_made(drawings):
    maker = ScenePlanner(drawings, SceneMix(), fits=lambda caption: len(caption) < 18)
    for seed in range(50):
        scene = maker.scene(0, np.random.default_rng(seed))
        assert len(scene.caption) < 18


def test_partners_share_the_style(drawings):
    strangers = [replace(drawing, style="other") for drawing in drawings]
    maker = ScenePlanner([*drawings, *strangers], SceneMix(0, 0.5, 0.5, 0, 0, 0))
    for seed in range(60):
        assert all(placed.row >= 3 for placed in maker.scene(4, np.random.default_rng(seed)).placed)


def planner(**changes):
    tokenizer = Tokenizer.train(["a red green blue disc, plain"], 300)
    known = {"mix": SceneMix(), "batch_size": 6, "caption_dropout": 0.1} | changes
    return BatchPlanner(drawings_of(discs()), np.array([0, 1, 2, 2]), tokenizer, 80, **known)


def test_batches_are_a_function_of_the_clock():
    pixels = torch.from_numpy(discs().pixels)
    first, second = SceneBatches(pixels, planner()), SceneBatches(pixels, planner())
    second(0)
    a, b, c = first(12), second(12), second(18)
    assert torch.equal(a.x0, b.x0)
    assert torch.equal(a.ids, b.ids)
    assert not torch.equal(b.x0, c.x0)
    assert a.x0.shape == (6, 4, SIDE, SIDE)


def test_planning_processes_change_nothing():
    pixels = torch.from_numpy(discs().pixels)
    with SceneBatches(pixels, planner(), workers=1) as ahead:
        alone = SceneBatches(pixels, planner())
        for seen in (0, 6, 12, 30):  # a jump, as after a restart
            a, b = ahead(seen), alone(seen)
            assert torch.equal(a.x0, b.x0)
            assert torch.equal(a.ids, b.ids)


def test_processes_share_a_batch_of_scenes(monkeypatch):
    scenes = SceneBatches(torch.from_numpy(discs().pixels), planner())
    whole = scenes(12)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(batches, "process_group", lambda rank=rank: ProcessGroup(rank, 2))
        parts.append(scenes(12))
    for k in range(3):
        assert torch.equal(torch.cat([part[k] for part in parts]).nan_to_num(-9), whole[k].nan_to_num(-9))


def test_rows_are_seen_as_often_as_the_index_says():
    rows = np.concatenate([planner(batch_size=4).at(seen)[0].rows[:, 0] for seen in range(0, 400, 4)])
    # Partners may come first in a scene, so the shares are only about those of the index.
    assert np.bincount(rows, minlength=3)[2] / len(rows) > 0.4


def test_what_words_name_lies_where_they_say(drawings):
    """Whatever is said, in whatever order: each named word leads to the middle of its own colour."""
    maker = ScenePlanner(drawings, SceneMix(0.2, 0.2, 0.4, 0.3, 0.3, 0.2))
    kinds = set()
    for seed in range(200):
        scene = maker.scene(seed % 3, np.random.default_rng(seed))
        words = scene.caption.split(" ")
        picture = painted(scene)
        kinds.add((len(scene.placed), len(scene.named_things)))
        for thing in scene.named_things:
            named = " ".join(words[thing.first : thing.end])
            i = next((i for i, name in enumerate(COLOURS) if name.split()[0] in named), None)
            if i is None or scene.background is not None:  # misspelt, called by its synonym; or all is painted over
                continue
            x, y, _ = middle_of(picture, i)
            assert (x, y) == pytest.approx((thing.x, thing.y), abs=0.03), scene.caption
            assert 0 < thing.scale <= 1
    assert kinds >= {(1, 1), (2, 2), (2, 1), (3, 1), (4, 1)}


def test_the_layout_of_tokens():
    batch_planner = planner(caption_dropout=0.5)
    several = 0
    for clock in range(0, 240, 6):
        planned = batch_planner.at(clock)
        assert planned.layout.shape == (6, 80, 3)
        for ids, layout in zip(planned.ids, planned.layout, strict=True):
            named = ~np.isnan(layout).any(1)
            assert not named[ids == 0].any()
            assert named.any() == bool(batch_planner.tokenizer.decode(ids.tolist())), (
                "all but the empty caption name something"
            )
            several += len(np.unique(layout[named], axis=0)) == 2
    assert several > 10
    scene = Scene(
        "plain, a red disc over a blue disc",
        (),
        None,
        (NamedThing(1, 4, 0.5, 0.2, 0.4), NamedThing(5, 8, 0.5, 0.7, 0.3)),
    )
    layout = batch_planner.layout(scene)
    ids = np.array(batch_planner.tokenizer.tokens(scene.caption))
    above = np.flatnonzero(layout[:, 1] == np.float32(0.2))
    below = np.flatnonzero(layout[:, 1] == np.float32(0.7))
    assert batch_planner.tokenizer.decode(ids[above].tolist()) == "a red disc"
    assert batch_planner.tokenizer.decode(ids[below].tolist()) == "a blue disc"
    assert np.isnan(layout[len(ids) :]).all()
