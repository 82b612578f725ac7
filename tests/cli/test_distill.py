"""`unstir distill`: from a model that draws in many steps to one that draws in four."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir import recipes
from unstir.cli import main
from unstir.image.png import load_pixels
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.train import checkpoint, run_folder
from unstir.train.config import TrainConfig
from unstir.train.distillation import FEW_STEPS, TEACHER
from unstir.train.loop import training_loop
from unstir.train.recipe import Recipe
from unstir.train.run_file import read_run_file
from unstir.weights.model_file import load_model


def tiny():
    return Recipe(
        model=DiffusionConfig(
            DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32),
            TextConfig(vocabulary=290, length=12, width=32, depth=1),
        ),
        train=TrainConfig(images=960, batch_size=8, warmup=16, log_every=240, sample_every=960, save_every=480),
        prompts=("a red disc", "a blue box"),
        settings=DiffusionSettings(steps=6, guidance_scale=1.5),
    )


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A run folder of a model that draws in six steps."""
    folder = tmp_path_factory.mktemp("trained") / "r"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "recipe_table", lambda: {"tiny": tiny})
        assert main(["train", str(photos), "--recipe", "tiny", "--run", str(folder)]) == 0
    return folder


def test_distilled_on_the_pictures_of_its_own_run(call, trained, tmp_path):
    run = tmp_path / "few"
    code, _, said = call("distill", trained, "--from", trained, "--run", run, "--budget", "5s")
    assert code == 0, said
    assert "which draws in 6 steps with guidance 1.5, to 4 steps without" in said
    before, after = load_model(trained, dtype=torch.float32), load_model(run, dtype=torch.float32)
    assert after.settings == FEW_STEPS == DiffusionSettings(steps=4, guidance_scale=1.0, sampler="blend")
    assert after.notes["distilled from"] == trained.name
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
    assert all(name.startswith("student.network.") for name in checkpoint.load_checkpoint(run).group("model"))


def test_distilled_on_a_folder_stopped_and_continued(call, trained, photos, tmp_path):
    begun = tmp_path / "begun" / "r"
    assert call("distill", photos, "--from", trained / "model.safetensors", "--run", begun, "--budget", "3s")[0] == 0
    plan = read_run_file(begun)
    assert plan.train.budget == 3
    # The clock ends a run with a budget; two runs that are to be compared have a number of pictures.
    plan = replace(plan, train=replace(plan.train, budget=None, images=10 * plan.train.batch_size))
    whole, parts = tmp_path / "whole" / "r", tmp_path / "parts" / "r"
    for folder in (whole, parts):
        plan.write(folder)
        shutil.copy(begun / TEACHER, folder / TEACHER)
        shutil.copytree(begun / run_folder.PICTURES, folder / run_folder.PICTURES)
    assert call("distill", photos, "--from", "whatever", "--run", whole)[0] == 0
    run, _ = run_folder.open_run(parts, "cpu")
    list(training_loop(run, stop=lambda: run.images_seen >= plan.train.images // 2))
    code, _, said = call("tune", photos, "--from", "whatever", "--run", parts)  # the former name of the command
    assert code == 0
    assert "resuming the run" in said
    assert (parts / checkpoint.NAME).read_bytes() == (whole / checkpoint.NAME).read_bytes()
    for (name, a), (_, b) in zip(
        load_model(whole).model.named_parameters(), load_model(parts).model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name


def test_refusals(refused, trained, photos, tmp_path):
    run = tmp_path / "r"
    assert "there is no model" in refused("distill", photos, "--from", tmp_path / "none", "--run", run)
    assert not run.exists()
    assert "--budget" in refused("distill", photos, "--from", trained, "--run", run, "--budget", "soon")
    shutil.copytree(trained, tmp_path / "other")
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    from unstir.data.pictures import Pictures

    Pictures(pixels, [("a",), ("b",)], ["a", "b"], [{}, {}]).save(tmp_path / "other" / "pictures")
    said = refused("distill", tmp_path / "other", "--from", trained, "--run", run)
    assert "the model draws 8×8 pixels with 3 channels" in said
    assert not run_folder.exists(run)
    (run / TEACHER).unlink(missing_ok=True)
    assert main(["tune", str(trained), "--from", str(trained), "--run", str(run), "--budget", "1s"]) == 0
    (run / TEACHER).unlink()
    assert "there is no model" in refused("distill", trained, "--from", trained, "--run", run)
