"""From a recipe and pictures to a run: what is used, what is said of it, and scenes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from unstir.data.digits import digits
from unstir.data.entry import Entry, Source
from unstir.data.pictures import Pictures
from unstir.data.transforms import decode
from unstir.errors import UserError
from unstir.models.diffusion import Sampling
from unstir.nn.dit import DiTConfig
from unstir.scenes.batches import SceneBatches, drawings_of
from unstir.scenes.planner import COLOURS, RELATIONS
from unstir.text.tokenizer import Tokenizer
from unstir.train import batch_sources as feed
from unstir.train import checkpoint
from unstir.train import run_folder as runfolder
from unstir.train.batch_sources import scene_batches
from unstir.train.batches import split
from unstir.train.config import TrainConfig
from unstir.train.loop import train
from unstir.train.new_run import _png, new_model, new_run, pack_for, scene_captions, select
from unstir.train.recipe import Recipe
from unstir.train.samples import sampler

RECIPE = Recipe(
    network=DiTConfig(16, 4, patch=4, width=32, depth=1, heads=2, bottleneck=8, words=32),
    train=TrainConfig(images=48, batch_size=8, warmup=16, log_every=8, sample_every=48, save_every=16, scenes=True),
    prompts=("two red discs",),
    sampling=Sampling(steps=2),
    vocabulary=320,
    length=12,
    text_width=32,
    text_depth=1,
)


def drawings(count=6):
    """Discs of several colours, transparent around."""
    y, x = np.mgrid[:16, :16]
    inside = (x - 7.5) ** 2 + (y - 7.5) ** 2 < 36
    pixels = np.zeros((count, 16, 16, 4), np.uint8)
    meta, names = [], []
    for i in range(count):
        pixels[i][inside] = (40 * i, 255 - 40 * i, 100, 255)
        names.append(f"{list(COLOURS)[i]} disc")
        meta.append({"name": names[-1], "tags": ["round"], "phrase": "plain", "style": "plain", "kind": i % 2})
    return Pictures(pixels, [(f"{name}, plain",) for name in names], [f"d{i}" for i in range(count)], meta)


def source(pictures):
    entries = [
        Entry(key, ways[0], meta, partial(_png, pixels))
        for key, ways, meta, pixels in zip(
            pictures.keys, pictures.captions, pictures.meta, pictures.pixels, strict=True
        )
    ]
    return Source("somewhere", "folder", entries, [])


HOOKS = replace(
    RECIPE,
    wanted=lambda meta: meta["name"] != "red disc",
    annotate=lambda meta: {**meta, "thing": meta["kind"] == 1, "weight": 3},
    keep=lambda metas: np.array([i for i, meta in enumerate(metas) if "weight" in meta and i != 2]),
    captioner=lambda entry: (entry.caption, f"thing: {entry.meta['thing']}"),
)


def test_what_a_recipe_takes_of_a_source(tmp_path):
    """wanted sees what the source says; keep and captioner also what annotate adds."""
    assert [entry.key for entry in select(source(drawings()), HOOKS).entries] == ["d1", "d2", "d4", "d5"]
    for where, found in (("source", source(drawings())), ("built in", drawings())):
        pictures, problems = pack_for(found, HOOKS, tmp_path / where)
        assert pictures.keys == ["d1", "d2", "d4", "d5"]
        assert pictures.captions[0] == ("orange disc, plain", "thing: True")
        assert pictures.captions[1] == ("yellow disc, plain", "thing: False")
        assert all(meta["weight"] == 3 for meta in pictures.meta)
        assert (pictures.pixels == drawings().pixels[[1, 2, 4, 5]]).all()
        assert problems == []


def test_a_recipe_that_wants_nothing(tmp_path):
    with pytest.raises(UserError, match="wants none of the 6 pictures in somewhere"):
        pack_for(source(drawings()), replace(RECIPE, wanted=lambda meta: False), tmp_path)


def test_a_built_in_set_without_hooks_stays_as_it_is(tmp_path):
    pictures, _ = pack_for(digits(), replace(RECIPE, captioner=None), tmp_path)
    assert pictures.captions == digits().captions
    assert pictures.meta == digits().meta
    assert (pictures.pixels == digits().pixels).all()


def test_built_in_pictures_can_be_read_as_files():
    pixels = drawings().pixels[3]
    assert (np.asarray(decode(_png(pixels))) == pixels).all()


# Scenes


def feed_of(model, pictures, **fields):
    return scene_batches(model, pictures, replace(RECIPE.train, **fields))


def things():
    pictures = drawings()
    pictures.meta = [{**meta, "thing": True} for meta in pictures.meta]
    return pictures


def test_the_tokenizer_knows_the_words_of_scenes():
    told = " ".join(scene_captions(drawings_of(things()), each=40))
    for word in ("two", "three", "four", "background", "blue", *(ways[0] for ways, *_ in RELATIONS.values())):
        assert f" {word} " in f" {told} ", word
    assert scene_captions(drawings_of(things())) == scene_captions(drawings_of(things()))
    model = new_model(replace(RECIPE, vocabulary=400), things())
    plain = Tokenizer.train([text for ways in things().captions for text in ways], 400)
    caption = "three blue discs on a pink background"
    assert len(model.tokenizer.tokens(caption)) < 0.7 * len(plain.tokens(caption))


def test_every_drawing_can_be_told_alone():
    long = things()
    long.meta[2]["name"] = "a name of very many words that goes on and on"
    model = new_model(RECIPE, long)
    model.tokenize([f"{long.meta[2]['name']}, plain"])


def test_a_run_on_scenes_stopped_and_continued(tmp_path):
    def opened(name):
        folder = tmp_path / name
        if not runfolder.exists(folder):
            pictures = things()
            run = new_run(RECIPE, pictures, folder)
            pictures.save(folder / runfolder.PICTURES)
            runfolder.write_plan(folder, run.model, run.config, data="here", prompts=RECIPE.prompts, notes={})
        return runfolder.open_run(folder, "cpu")[0]

    whole = opened("whole")
    assert isinstance(whole.next_batch, SceneBatches)
    list(train(whole, sample=sampler(RECIPE.prompts, RECIPE.sampling)))
    for until in (24, 48):
        run = opened("parts")
        list(train(run, stop=lambda run=run, until=until: run.images_seen >= until))
    saved = [(tmp_path / name / checkpoint.NAME).read_bytes() for name in ("whole", "parts")]
    assert saved[0] == saved[1]


def test_the_planning_processes_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "scene_batches", lambda *_: scenes)
    pictures = things()
    model = new_model(RECIPE, pictures)
    planner = feed_of(model, pictures).planner
    closed = []
    scenes = SceneBatches(torch.from_numpy(pictures.pixels), planner)
    monkeypatch.setattr(scenes, "close", lambda: closed.append(True))
    run = new_run(RECIPE, pictures, tmp_path)
    steps = train(run)
    next(steps)
    assert closed == []
    steps.close()
    assert closed == [True]


def test_drawings_are_seen_as_often_as_they_weigh():
    pictures = things()
    pictures.meta[1]["weight"] = 3
    index = feed_of(new_model(RECIPE, pictures), pictures).planner.index
    assert index.tolist() == [0, 1, 1, 1, 2, 3, 4, 5]


def test_drawings_held_back_are_in_no_scene():
    pictures = things()
    model = new_model(RECIPE, pictures)
    held = split(6, replace(RECIPE.train, validation=2))[1]
    scenes = feed_of(model, pictures, validation=2)
    assert len(scenes.pixels) == 4
    names = {drawing.name for drawing in scenes.planner.drawings}
    assert not names & {pictures.meta[row]["name"] for row in held}


def test_scenes_need_transparency_and_names():
    pictures = things()
    model = new_model(RECIPE, pictures)
    opaque = Pictures(pictures.pixels[..., :3], pictures.captions, pictures.keys, pictures.meta)
    with pytest.raises(ValueError, match="no transparency"):
        feed_of(model, opaque)
    nameless = Pictures(pictures.pixels, pictures.captions, pictures.keys, [{} for _ in range(6)])
    with pytest.raises(ValueError, match="no 'name'"):
        feed_of(model, nameless)
