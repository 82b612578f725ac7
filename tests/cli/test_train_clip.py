"""`unstir train --clip` and CLIP recipes: a run folder, Ctrl-C and resuming, as for models that draw."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from unstir import recipes
from unstir.cli import main
from unstir.models.clip import Clip, ClipConfig
from unstir.nn.vision import VisionConfig
from unstir.train import auto_clip_recipe, checkpoint
from unstir.train.auto_clip_recipe import choose_clip_size, clip_text
from unstir.train.config import TrainConfig
from unstir.train.log import Log
from unstir.train.recipe import Recipe
from unstir.train.run_file import read_run_file
from unstir.weights.model_file import load_clip


def tiny():
    return Recipe(
        model=ClipConfig(
            VisionConfig(8, 3, patch=2, width=32, depth=1, heads=1, mlp=64),
            clip_text(width=32, depth=1, vocabulary=290, length=8),
            width=16,
        ),
        train=TrainConfig(
            images=96, batch_size=8, warmup=16, log_every=8, sample_every=40, save_every=16, validation=8,
            best="most text-to-image R@1",
        ),
        captioner=lambda entry: (entry.caption, f"the picture of {entry.caption}"),
    )  # fmt: skip


def endless():
    return tiny().with_train(images=8_000_000, sample_every=8_000_000)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"tiny": tiny, "endless": endless})
    monkeypatch.setitem(auto_clip_recipe.CLIP_SIZES, "s", auto_clip_recipe.ClipSize(32, 1, 32, 1, 16))


def test_a_recipe(call, photos, tmp_path):
    run = tmp_path / "r"
    code, _, said = call("train", photos, "--recipe", "tiny", "--run", run)
    assert code == 0
    assert "recipe tiny: 96 pictures" in said
    assert f"done: {run / 'model.safetensors'}" in said
    assert f"weights with the most text-to-image R@1: {run / 'best.safetensors'}" in said
    assert said.splitlines()[-1].startswith(f"try: unstir clip search {photos} --words 'a red disc' --model {run}")
    model = load_clip(run)
    assert isinstance(model, Clip)
    assert model.shape == (3, 8, 8)
    assert len(model.tokenizer.tokens("the picture of a red disc")) < 20  # the captioner's words were learned
    assert {path.name for path in (run / "samples").iterdir()} == {f"{images:09d}.png" for images in (0, 40, 80, 96)}
    measured = [line for line in Log.lines(run) if "image-to-text R@1" in line]
    assert [line["images"] for line in measured] == [0, 40, 80, 96]
    assert all({"scale", "chance", "cosine of captions"} <= line.keys() for line in Log.lines(run) if "loss" in line)
    plan = read_run_file(run)
    assert plan.model["kind"] == "clip"
    assert plan.prompts == ()


def test_from_a_folder_to_a_search(call, photos, tmp_path):
    run = tmp_path / "r"
    code, _, said = call("train", photos, "--kind", "clip", "--budget", "4s", "--run", run)
    assert code == 0, said
    assert "40 of 41 captioned pictures can be used" in said
    assert "chosen: a CLIP, 32×32 pixels, without transparency, 0." in said
    assert "expect" not in said
    code, told, _ = call("clip", "search", photos, "--words", "a red disc", "-n", 40, "--model", run)
    assert code == 0
    assert "p000" in told


def test_stopped_and_continued_is_the_run_that_was_never_stopped(call, photos, tmp_path):
    def interrupt():
        while len(Log.lines(tmp_path / "r")) < 6:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    assert main(["train", str(photos), "--recipe", "tiny", "--run", str(tmp_path / "whole" / "r")]) == 0
    real = recipes.recipe_table
    thread = threading.Thread(target=interrupt)
    thread.start()
    code, _, said = call("train", photos, "--recipe", "tiny", "--run", tmp_path / "r")
    thread.join()
    assert code == 0
    if "stopped after" in said:  # else it was done before the key was pressed
        assert f"To continue: unstir train {photos} --run {tmp_path / 'r'}" in said
    assert recipes.recipe_table is real
    assert call("train", photos, "--run", tmp_path / "r")[0] == 0
    for name in ("model.safetensors", "best.safetensors", checkpoint.NAME):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / "r" / name).read_bytes(), name


def test_sigterm_saves_like_ctrl_c(call, photos, tmp_path):
    def ask():
        while len(Log.lines(tmp_path / "r")) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    code, _, said = call("train", photos, "--recipe", "endless", "--run", tmp_path / "r")
    thread.join()
    assert code == 0
    assert "everything is saved" in said
    assert checkpoint.load_checkpoint(tmp_path / "r").facts["images_seen"] >= 16
    assert isinstance(load_clip(tmp_path / "r"), Clip)


def test_warnings_are_shown_once(call, photos, tmp_path, monkeypatch):
    config = replace(tiny().train, images=8 * 260, log_every=160, sample_every=10**6, adamw_lr=0.0, muon_lr=0.0)
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"idle": lambda: replace(tiny(), train=config)})
    code, _, said = call("train", photos, "--recipe", "idle", "--run", tmp_path / "r")
    assert code == 0
    assert said.count("where chance is at") == 1
    assert "warning: after 1,760 pictures the loss stays at" in said


def test_refusals(refused, photos, tmp_path):
    run = tmp_path / "r"
    assert "a CLIP has the sizes s and m" in refused("train", photos, "--kind", "clip", "--size", "l", "--run", run)
    assert "omit" in refused("train", photos, "--kind", "clip", "--recipe", "tiny", "--run", run)
    assert not run.exists()


def test_sizes_by_budget():
    assert choose_clip_size(None, 1800, False) == "s"
    assert choose_clip_size(None, 3 * 3600, False) == "m"
    assert choose_clip_size(None, 60, True) == "m"
    assert choose_clip_size("s", 10**6, True) == "s"
