"""`unstir tune`: from a model that draws in many steps to one that draws in four."""

import shutil

import numpy as np
import pytest
import torch

from unstir import recipes
from unstir.cli import main
from unstir.image.png import load_pixels
from unstir.models.diffusion import Sampling
from unstir.nn.dit import DiTConfig
from unstir.train import checkpoint
from unstir.train import run_folder as runfolder
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe
from unstir.train.tuning import FEW
from unstir.weights.model_file import load_model


def tiny():
    return Recipe(
        network=DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32),
        train=TrainConfig(images=960, batch_size=8, warmup=16, log_every=240, sample_every=960, save_every=480),
        prompts=("a red disc", "a blue box"),
        sampling=Sampling(steps=6, guidance_scale=1.5),
        vocabulary=290,
        length=12,
        text_width=32,
        text_depth=1,
    )


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A run folder of a model that draws in six steps."""
    folder = tmp_path_factory.mktemp("trained") / "r"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "table", lambda: {"tiny": tiny})
        assert main(["train", str(photos), "--recipe", "tiny", "--run", str(folder)]) == 0
    return folder


def test_tuned_on_the_pictures_of_its_own_run(call, trained, tmp_path):
    run = tmp_path / "few"
    code, _, said = call("tune", trained, "--from", trained, "--run", run, "--budget", "5s")
    assert code == 0, said
    assert "which draws in 6 steps with guidance 1.5, to draw in 4 without" in said
    before, after = load_model(trained, dtype=torch.float32), load_model(run, dtype=torch.float32)
    assert after.sampling == FEW == Sampling(steps=4, guidance_scale=1.0, sampler="blend")
    assert after.notes["tuned from"] == str(trained)
    assert after.model.config == before.model.config
    changed = {
        name
        for (name, a), (_, b) in zip(before.model.named_parameters(), after.model.named_parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed
    assert all(name.startswith("network.") for name in changed)
    assert load_pixels(run / "samples" / "000000000.png").size
    assert call("generate", "a red disc", "--model", run, "--seed", 1, "--out", tmp_path / "out")[0] == 0
    # The checkpoint holds what learns, and not the teacher beside it.
    assert all(name.startswith("student.network.") for name in checkpoint.load(run).group("model"))


def test_tuned_on_a_folder_stopped_and_continued(call, trained, photos, tmp_path):
    whole, parts = tmp_path / "whole" / "r", tmp_path / "parts" / "r"
    assert call("tune", photos, "--from", trained / "model.safetensors", "--run", whole, "--budget", "3s")[0] == 0
    plan = runfolder.read_plan(whole)
    parts.mkdir(parents=True)
    for name in (runfolder.PLAN, runfolder.TEACHER):
        shutil.copy(whole / name, parts / name)
    shutil.copytree(whole / runfolder.PICTURES, parts / runfolder.PICTURES)
    from unstir.train.loop import train

    run, _ = runfolder.open_run(parts, "cpu")
    list(train(run, stop=lambda: run.images_seen >= plan.train.images // 2))
    code, _, said = call("tune", photos, "--from", "whatever", "--run", parts)
    assert code == 0
    assert "continuing the run" in said
    assert (parts / checkpoint.NAME).read_bytes() == (whole / checkpoint.NAME).read_bytes()
    for (name, a), (_, b) in zip(
        load_model(whole).model.named_parameters(), load_model(parts).model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name


def test_refusals(refused, trained, photos, tmp_path):
    run = tmp_path / "r"
    assert "there is no model" in refused("tune", photos, "--from", tmp_path / "none", "--run", run)
    assert not run.exists()
    assert "--budget" in refused("tune", photos, "--from", trained, "--run", run, "--budget", "soon")
    shutil.copytree(trained, tmp_path / "other")
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    from unstir.data.pictures import Pictures

    Pictures(pixels, [("a",), ("b",)], ["a", "b"], [{}, {}]).save(tmp_path / "other" / "pictures")
    said = refused("tune", tmp_path / "other", "--from", trained, "--run", run)
    assert "the model draws 8×8 pixels with 3 channels" in said
    assert not runfolder.exists(run)
    (run / runfolder.TEACHER).unlink(missing_ok=True)
    assert main(["tune", str(trained), "--from", str(trained), "--run", str(run), "--budget", "1s"]) == 0
    (run / runfolder.TEACHER).unlink()
    assert "there is no model" in refused("tune", trained, "--from", trained, "--run", run)
