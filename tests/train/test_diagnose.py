"""Faults are put into training and recognised; healthy runs raise no alarm."""

import math

import numpy as np
import pytest
import torch
from recipe_runs import SMALL_CLIP_TEXT, SMALL_TEXT, run_of_recipe

from unstir.data.digits import digit_pictures
from unstir.data.pictures import Pictures
from unstir.models.clip import ClipBatch, ClipConfig
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.vision import VisionConfig
from unstir.train.batches import BatchSource
from unstir.train.config import TrainConfig
from unstir.train.diagnose import COLLAPSED, GRACE, diagnose
from unstir.train.log import Log
from unstir.train.loop import Diverged, training_loop
from unstir.train.recipe import Recipe
from unstir.train.train_metrics import chance_loss, mean_cosine, mean_picture_loss, of_clip, of_diffusion

STEPS = 3 * GRACE


@pytest.fixture
def lessons(eight):
    """A function (kind, pictures, **TrainConfig fields) -> a run on them, or on eight digits."""

    def new(folder, kind, pictures=eight, **fields):
        config = {"images": 8 * STEPS, "batch_size": 8, "warmup": 8, "log_every": 8 * 20, "save_every": 10**9}
        config = TrainConfig(**(config | {"precision": "fp32", "optimiser": "adamw"} | fields))
        if kind == "clip":
            vision = VisionConfig(8, 3, patch=2, width=32, depth=1, heads=1, mlp=64)
            recipe = Recipe(model=ClipConfig(vision, SMALL_CLIP_TEXT, width=16), train=config)
            return run_of_recipe(recipe, pictures, folder)
        network = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
        recipe = Recipe(model=DiffusionConfig(network, SMALL_TEXT, sigma_data=0.75), train=config)
        return run_of_recipe(recipe, pictures, folder)

    return new


def warned(run):
    """The faults that the log names, each once, and the sentences that were shown."""
    shown = [warning for now in training_loop(run) for warning in now.warnings]
    lines = [line for line in Log.lines(run.folder) if "warning" in line]
    assert [line["words"] for line in lines] == shown
    names = [line["warning"] for line in lines]
    assert len(names) == len(set(names))
    return names


# Faults


@pytest.mark.parametrize(("kind", "name"), [("clip", "no better than chance"), ("draws", "no better than the mean")])
def test_nothing_is_learned(lessons, tmp_path, kind, name):
    if kind == "clip":
        assert name in warned(lessons(tmp_path, kind, adamw_lr=0.0))
    else:  # at first it draws grey, which is worse than the mean
        assert warned(lessons(tmp_path, kind, adamw_lr=0.0)) == [name]


def test_pictures_that_are_all_the_same(lessons, eight, tmp_path):
    blank = Pictures(np.zeros_like(eight.pixels), eight.captions, eight.keys, eight.meta)
    names = warned(lessons(tmp_path, "clip", blank))
    assert {"no better than chance", "pictures collapsed"} <= set(names)  # the words give up too


def test_captions_that_belong_to_other_pictures_each_time(lessons, tmp_path):
    """Shuffled anew for each batch: there is nothing to learn."""
    run = lessons(tmp_path, "clip")
    given = run.source.next_batch

    def mixed(images_seen):
        batch = given(images_seen)
        rows = torch.randperm(8, generator=torch.Generator().manual_seed(images_seen))
        return ClipBatch(batch.x0, batch.ids[rows], batch.same)

    run.source = BatchSource(mixed)
    assert "no better than chance" in warned(run)


def test_a_temperature_at_its_end(lessons, tmp_path):
    run = lessons(tmp_path, "clip", adamw_lr=0.0)
    with torch.no_grad():
        run.model.log_scale.fill_(math.log(100))
    assert "temperature at its end" in warned(run)


@pytest.mark.parametrize("kind", ["clip", "draws"])
def test_a_loss_that_is_not_finite(lessons, tmp_path, kind):
    run = lessons(tmp_path, kind, adamw_lr=1e30, warmup=0)
    with pytest.raises(Diverged, match="lower the learning rate"):
        list(training_loop(run))
    assert [line["warning"] for line in Log.lines(tmp_path) if "warning" in line] == ["not finite"]


# Health


@pytest.mark.parametrize("kind", ["clip", "draws"])
def test_healthy_runs_raise_no_alarm(lessons, tmp_path, kind):
    assert warned(lessons(tmp_path, kind)) == []
    lines = [line for line in Log.lines(tmp_path) if "loss" in line]
    assert len(lines) == STEPS // 20
    assert all(line["chance"] > 0 for line in lines)
    assert lines[-1]["loss"] < 0.6 * lines[-1]["chance"]


def test_a_warning_is_given_once_also_when_a_run_is_continued(lessons, tmp_path):
    run = lessons(tmp_path, "clip", adamw_lr=0.0)
    list(training_loop(run, stop=lambda: run.images_seen >= 8 * 5 * STEPS // 6))
    said = [line for line in Log.lines(tmp_path) if "warning" in line]
    assert said
    again = lessons(tmp_path, "clip", adamw_lr=0.0)
    assert [warning for now in training_loop(again) for warning in now.warnings] == []
    assert [line for line in Log.lines(tmp_path) if "warning" in line] == said


# The rules, on lines of a log

CONFIG = TrainConfig(images=10**6, batch_size=100, warmup=1_000)
WELL = {"loss": 1.0, "chance": 4.6, "scale": 20.0, "cosine of pictures": 0.3, "cosine of captions": 0.2}


def lines(count=60, every=1_000, **wrong):
    return [{"images": (i + 1) * every, **WELL, **wrong} for i in range(count)]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({}, None),
        ({"loss": 4.55}, "no better than chance"),
        ({"loss": 4.4}, None),
        ({"scale": 99.9}, "temperature at its end"),
        ({"scale": 98.0}, None),
        ({"cosine of pictures": COLLAPSED + 0.01}, "pictures collapsed"),
        ({"cosine of captions": 0.99}, "captions collapsed"),
        ({"cosine of captions": COLLAPSED - 0.01}, None),
        ({"loss": math.nan}, "not finite"),
        ({"loss": math.inf}, "not finite"),
    ],
)
def test_rules(wrong, name):
    found = diagnose(lines(**wrong), CONFIG)
    assert [finding.name for finding in found] == ([name] if name else [])
    assert all(len(finding.sentence) > 60 and finding.sentence[0].islower() for finding in found)


def test_what_passes_is_no_fault():
    bad = lines(loss=4.6)
    assert diagnose(bad, CONFIG)
    assert not diagnose([*bad[:-1], *lines(1)], CONFIG)  # it has just got better
    assert not diagnose([*lines(59), bad[-1]], CONFIG)  # a single bad line
    assert not diagnose(bad[:20], CONFIG)  # too early: warm-up and grace are 11,000 pictures, and as many must be bad
    assert diagnose(bad[:22], CONFIG)


def test_lines_without_a_loss_or_without_metrics():
    assert diagnose([], CONFIG) == []
    assert diagnose([{"images": 5, "validation": 3.0}], CONFIG) == []
    plain = [{"images": line["images"], "loss": 5.0} for line in lines()]
    assert diagnose(plain, CONFIG) == []
    measures = [{"images": 59_500, "validation": 1.0}]
    assert [f.name for f in diagnose(lines(59, loss=5.0) + measures, CONFIG)] == ["no better than chance"]


# Train metrics


def test_chance_is_the_loss_of_equal_cosines(lessons, tmp_path):
    run = lessons(tmp_path, "clip")
    batch = run.source.next_batch(0)
    same = batch.same.clone()
    same[0, 3] = same[3, 0] = same[1, 2] = True
    assert chance_loss(batch._replace(same=torch.eye(8, dtype=torch.bool)), "softmax") == pytest.approx(math.log(8))
    from unstir.models.contrastive_loss import sigmoid_loss, softmax_loss

    equal = torch.ones(8, 4) / 2
    assert chance_loss(batch._replace(same=same), "softmax") == pytest.approx(
        softmax_loss(equal, equal, same, torch.tensor(9.0)).item(), rel=1e-5
    )
    best = min(sigmoid_loss(equal, equal, same, torch.tensor(0.0), bias).item() for bias in torch.linspace(-6, 2, 800))
    assert chance_loss(batch._replace(same=same), "sigmoid") == pytest.approx(best, rel=1e-3)


def test_chance_is_the_loss_of_the_mean_picture(lessons, tmp_path):
    run = lessons(tmp_path, "draws")
    x0 = 0.3 * torch.randn(512, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    # The mean of 1/t² for t = sigmoid(z), z Gaussian of mean 0.4 and deviation 1, which is (1 + exp(-z))².
    weight = 1 + 2 * math.exp(-0.4 + 0.5) + math.exp(-0.8 + 2)
    assert mean_picture_loss(run.model, x0) == pytest.approx(0.09 * weight, rel=0.03)


def test_mean_cosine():
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    apart = ~torch.eye(6, dtype=torch.bool)
    assert mean_cosine(vectors) == pytest.approx((vectors @ vectors.T)[apart].mean().item(), abs=1e-6)


def test_there_are_no_metrics_of_one_picture(lessons, tmp_path):
    for kind, metrics in (("draws", of_diffusion), ("clip", of_clip)):
        run = lessons(tmp_path / kind, kind)
        batch = run.source.next_batch(0)
        assert metrics(run.model, batch)
        assert metrics(run.model, batch._replace(x0=batch.x0[:1], ids=batch.ids[:1])) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "clip-digits"])
def test_the_recipes_are_healthy_in_their_first_minutes(name, tmp_path):
    from unstir import recipes

    recipe = recipes.named_recipe(name)
    recipe = recipe.with_train(images=60_000, log_every=1_024, sample_every=10**9)
    assert warned(run_of_recipe(recipe, digit_pictures(), tmp_path)) == []
