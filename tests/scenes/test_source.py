"""Scenes as a source of batches: what a recipe trains on with them, killed and continued."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.description import dataclass_from, describe
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.scenes.batches import SceneBatches
from unstir.scenes.planner import COLOURS, RELATIONS, SceneMix
from unstir.scenes.source import SceneSource
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.train import checkpoint, run_folder
from unstir.train.batches import split
from unstir.train.config import TrainConfig
from unstir.train.diffusion_batches import diffusion_batches
from unstir.train.loop import training_loop
from unstir.train.new_run import known_words, new_model
from unstir.train.recipe import Recipe
from unstir.train.run_file import RunFile, read_run_file
from unstir.train.samples import save_preview

RECIPE = Recipe(
    model=DiffusionConfig(
        DiTConfig(16, 4, patch=4, width=32, depth=1, heads=2, bottleneck=8, words=32),
        TextConfig(vocabulary=320, length=12, width=32, depth=1),
    ),
    train=TrainConfig(images=48, batch_size=8, warmup=16, log_every=8, sample_every=48, save_every=16),
    prompts=("two red discs",),
    settings=DiffusionSettings(steps=2),
    source=SceneSource(),
)


def things():
    """Discs of several colours, transparent around, that can be counted and put beside one another."""
    y, x = np.mgrid[:16, :16]
    inside = (x - 7.5) ** 2 + (y - 7.5) ** 2 < 36
    pixels = np.zeros((6, 16, 16, 4), np.uint8)
    meta = []
    for i, colour in enumerate(list(COLOURS)[:6]):
        pixels[i][inside] = (40 * i, 255 - 40 * i, 100, 255)
        meta.append({"name": f"{colour} disc", "tags": ["round"], "phrase": "plain", "style": "plain", "thing": True})
    return Pictures(pixels, [(f"{one['name']}, plain",) for one in meta], [f"d{i}" for i in range(6)], meta)


def plan_of(model, recipe=RECIPE):
    return RunFile("here", recipe.train, describe(model), {}, recipe.prompts, recipe.settings, source=recipe.source)


def scenes_of(model, pictures, **fields):
    return diffusion_batches(model, pictures, replace(RECIPE.train, **fields), RECIPE.source).next_batch


def test_the_tokenizer_knows_the_words_of_scenes():
    said = " ".join(RECIPE.source.captions(things(), each=40))
    for word in ("two", "three", "four", "background", "blue", *(ways[0] for ways, *_ in RELATIONS.values())):
        assert f" {word} " in f" {said} ", word
    assert RECIPE.source.captions(things()) == RECIPE.source.captions(things())
    text = replace(RECIPE.model.text, vocabulary=400)
    model = new_model(replace(RECIPE, model=replace(RECIPE.model, text=text)), things())
    plain = Tokenizer.train([text for ways in things().captions for text in ways], 400)
    caption = "three blue discs on a pink background"
    assert len(model.tokenizer.tokens(caption)) < 0.7 * len(plain.tokens(caption))


def test_the_words_of_scenes_are_known_to_the_model():
    assert {"background", "three"} <= set(known_words(RECIPE, things()))
    assert "three" not in known_words(replace(RECIPE, source=None), things())


def test_every_drawing_fits_alone():
    long = things()
    long.meta[2]["name"] = "a name of very many words that goes on and on"
    model = new_model(RECIPE, long)
    model.tokenize([f"{long.meta[2]['name']}, plain"])


def test_a_run_on_scenes_stopped_and_continued(tmp_path):
    def opened(name):
        folder = tmp_path / name
        if not run_folder.exists(folder):
            pictures = things()
            pictures.save(folder / run_folder.PICTURES)
            plan_of(new_model(RECIPE, pictures)).write(folder)
        return run_folder.open_run(folder, "cpu")

    whole, plan = opened("whole")
    assert isinstance(whole.source.next_batch, SceneBatches)
    list(training_loop(whole, sample=lambda run: save_preview(run, plan)))
    for until in (24, 48):
        run, _ = opened("parts")
        list(training_loop(run, stop=lambda run=run, until=until: run.images_seen >= until))
    saved = [(tmp_path / name / checkpoint.NAME).read_bytes() for name in ("whole", "parts")]
    assert saved[0] == saved[1]


def test_the_planning_processes_are_let_go(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(SceneBatches, "close", lambda self: closed.append(True))
    pictures = things()
    model = new_model(RECIPE, pictures)
    run = run_folder.run_of(tmp_path, plan_of(model), model, pictures)
    steps = training_loop(run)
    next(steps)
    assert closed == []
    steps.close()
    assert closed == [True]


def test_drawings_are_seen_as_often_as_they_weigh():
    pictures = things()
    pictures.meta[1]["weight"] = 3
    index = scenes_of(new_model(RECIPE, pictures), pictures).planner.index
    assert index.tolist() == [0, 1, 1, 1, 2, 3, 4, 5]


def test_drawings_held_back_are_in_no_scene():
    pictures = things()
    model = new_model(RECIPE, pictures)
    held = split(pictures, replace(RECIPE.train, validation=2))[1]
    scenes = scenes_of(model, pictures, validation=2)
    assert len(scenes.pixels) == 4
    names = {drawing.name for drawing in scenes.planner.drawings}
    assert not names & {pictures.meta[row]["name"] for row in held}


def test_the_mix_goes_through_the_run_file(tmp_path):
    recipe = replace(RECIPE, source=SceneSource(SceneMix(relation=0.4)))
    plan = plan_of(new_model(recipe, things()), recipe)
    plan.write(tmp_path)
    assert read_run_file(tmp_path) == plan
    assert read_run_file(tmp_path).source.mix.relation == 0.4
    assert dataclass_from(SceneMix, json.loads('{"count": 0.5}')) == SceneMix(count=0.5)
    with pytest.raises(ValueError, match="SceneMix has no cats"):
        dataclass_from(SceneMix, {"cats": 1})
    values = json.loads((tmp_path / "run.json").read_text())
    values["source"]["kind"] = "films"
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="this version does not have its source of batches"):
        read_run_file(tmp_path)


def test_only_what_has_a_layout_is_trained_on_scenes():
    from unstir.train.kinds import Training

    with pytest.raises(ValueError, match="only a diffusion model"):
        Training().batches(None, things(), RECIPE.train, SceneSource())


def test_scenes_need_transparency_and_names():
    pictures = things()
    model = new_model(RECIPE, pictures)
    opaque = Pictures(pictures.pixels[..., :3], pictures.captions, pictures.keys, pictures.meta)
    with pytest.raises(ValueError, match="no alpha channel"):
        scenes_of(model, opaque)
    nameless = Pictures(pictures.pixels, pictures.captions, pictures.keys, [{} for _ in range(6)])
    with pytest.raises(ValueError, match="no 'name'"):
        scenes_of(model, nameless)
