"""Pictures held back: never trained on, measured at fixed noise, and the best weights kept by what they say."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from unstir.data.digits import digits
from unstir.diffusion.noise import TRAINING, normal
from unstir.models.diffusion import Batch, Sampling
from unstir.models.pixels import to_model
from unstir.nn.dit import DiTConfig
from unstir.nn.vision import VisionConfig
from unstir.train import checkpoint
from unstir.train import run_folder as runfolder
from unstir.train.batches import rows_at, split
from unstir.train.config import TrainConfig
from unstir.train.log import Log
from unstir.train.loop import train
from unstir.train.monitor import better
from unstir.train.new_run import new_run
from unstir.train.recipe import ClipRecipe, Recipe
from unstir.train.validation import LEVELS, held_back, search, validation
from unstir.weights.model_file import load_clip, load_model

FEW = {"vocabulary": 290, "length": 8, "text_width": 32, "text_depth": 1}
CONFIG = TrainConfig(
    images=240, batch_size=8, warmup=16, save_every=32, log_every=24, sample_every=64, validation=20,
    best="least validation",
)  # fmt: skip


@pytest.fixture(scope="module")
def hundred():
    pictures = digits().take(range(100))
    pictures.captions = [ways[:1] for ways in pictures.captions]
    return pictures


def drawing(folder, pictures, **fields):
    network = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    recipe = Recipe(network=network, train=replace(CONFIG, **fields), prompts=("a handwritten one",), **FEW)
    return new_run(recipe, pictures, folder)


def comparing(folder, pictures, **fields):
    vision = VisionConfig(8, 3, patch=2, width=32, depth=1, heads=1, mlp=64)
    recipe = ClipRecipe(vision=vision, train=replace(CONFIG, best="most named", **fields), width=16, **FEW)
    return new_run(recipe, pictures, folder)


def of_log(folder, name):
    return {line["images"]: line[name] for line in Log.lines(folder) if name in line}


# Rows


def test_the_rows_held_back_are_never_trained_on():
    trained, held = split(100, CONFIG)
    assert sorted([*trained, *held]) == list(range(100))
    assert len(held) == 20
    seen = {row for images in range(0, 400, 8) for row in rows_at(100, CONFIG, images).tolist()}
    assert seen == set(trained.tolist())
    assert not np.array_equal(held, split(100, replace(CONFIG, seed=1))[1])


def test_with_none_held_back_the_order_is_that_of_before():
    from unstir.data.order import order
    from unstir.diffusion.noise import derive_seed
    from unstir.train.batches import ORDER

    plain = replace(CONFIG, validation=0, best="")
    assert np.array_equal(rows_at(100, plain, 24), order(100, derive_seed(0, ORDER), 24, 8))


def test_something_must_be_left_to_learn(hundred, tmp_path):
    with pytest.raises(ValueError, match="none would be left"):
        next(train(drawing(tmp_path, hundred, validation=100)))


def test_configurations_that_make_no_sense():
    for fields in ({"validation": -1}, {"best": "validation"}, {"best": "fewest errors"}):
        with pytest.raises(ValueError, match=r"held back|best"):
            replace(CONFIG, **fields)


# Measures


def test_the_loss_of_a_model_that_draws_is_that_at_fixed_times_and_noise(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    held = held_back(hundred, run.config)
    measured = validation(run.model, held, 8)
    assert list(measured) == ["validation", *(f"validation at {level}" for level in LEVELS)]
    batch = Batch(to_model(torch.from_numpy(held.pixels)), run.model.tokenize([ways[0] for ways in held.captions]))
    for k, level in enumerate(LEVELS):
        eps = torch.stack([normal((3, 8, 8), i, k, TRAINING) for i in range(20)])
        with torch.no_grad():
            expected = run.model.loss_at(batch, torch.full((20,), level), eps).mean().item()
        assert measured[f"validation at {level}"] == pytest.approx(expected, rel=1e-4)
    levels = [measured[f"validation at {level}"] for level in LEVELS]
    assert measured["validation"] == pytest.approx(np.mean(levels))
    assert validation(run.model, held, 20)["validation"] == pytest.approx(measured["validation"], rel=1e-4)


def test_search_counts_what_is_true(hundred):
    held = hundred.take(range(4))
    held.captions = [("a", "b"), ("b",), ("c",), ("a",)]
    pictures = torch.eye(4)
    words = torch.tensor([[0.9, 0, 0, 0.1], [0.8, 0.7, 0, 0], [0, 0, 0.1, 0.3]])  # of "a", "b", "c"
    # Picture 0 is nearest to "a", 1 to "b", 2 to "c", 3 to "c", which is wrong.
    # "a" finds picture 0, "b" picture 0, of which it is true too, "c" picture 3, which is wrong.
    assert search(pictures, ["a", "b", "c"], words, held) == {"named": 0.75, "found": pytest.approx(2 / 3)}


def test_nothing_is_measured_where_nothing_is_held_back(hundred, tmp_path):
    run = drawing(tmp_path, hundred, validation=0, best="")
    list(train(run))
    assert all("loss" in line for line in Log.lines(tmp_path))


# In the loop


def test_measures_are_logged_when_samples_are_drawn(hundred, tmp_path):
    list(train(drawing(tmp_path, hundred)))
    losses = of_log(tmp_path, "validation")
    assert list(losses) == [0, 64, 128, 192, 240]
    assert losses[240] < losses[0]
    list(train(comparing(tmp_path / "clip", hundred)))
    assert list(of_log(tmp_path / "clip", "named")) == [0, 64, 128, 192, 240]


def test_measuring_does_not_change_the_run(hundred, tmp_path):
    """The same pictures are held back, whether they are looked at or not."""
    list(train(drawing(tmp_path / "often", hundred, sample_every=8)))
    list(train(drawing(tmp_path / "seldom", hundred, sample_every=10**6)))
    often, seldom = (checkpoint.load(tmp_path / name) for name in ("often", "seldom"))
    assert all(torch.equal(value, often.tensors[name]) for name, value in seldom.tensors.items())


def test_the_averaged_weights_are_measured(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    list(train(run))
    held = held_back(hundred, run.config)
    own = validation(run.model, held, 8)
    with run.average.lent(run.model):
        averaged = validation(run.model, held, 8)
    assert of_log(tmp_path, "validation")[240] == averaged["validation"] != own["validation"]


def test_the_best_weights_are_kept(hundred, tmp_path):
    values = iter([5.0, 3.0, 4.0, 3.0, 3.5])
    kept, drawn = [], []
    run = drawing(tmp_path, hundred, best="least distance")
    list(
        train(
            run,
            measure=lambda run: {"distance": next(values)},
            keep=lambda run: kept.append(run.images_seen),
            sample=lambda run: drawn.append(run.images_seen),
        )
    )
    assert kept == [0, 64, 192]  # of equals the later
    assert drawn == [0, 64, 128, 192, 240]
    assert run.best == 3.0
    assert list(of_log(tmp_path, "distance").values()) == [5, 3, 4, 3, 3.5]
    assert checkpoint.load(tmp_path).facts["best"] == 3.0


def test_a_measure_sees_the_averaged_weights(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    same = []

    def measure(run):
        weights = dict(run.model.named_parameters())
        same.append(all(torch.equal(weights[name], value) for name, value in run.average.weights.items()))
        return {}

    list(train(run, measure=measure))
    assert same == [True] * 5


@pytest.mark.parametrize(
    ("best", "value", "before", "found"),
    [
        ("", 1.0, None, None),
        ("least x", 1.0, None, 1.0),
        ("least x", 1.0, 0.5, None),
        ("least x", 0.4, 0.5, 0.4),
        ("most x", 0.4, 0.5, None),
        ("most x", 0.6, 0.5, 0.6),
        ("most x", 0.5, 0.5, 0.5),
        ("most x", float("nan"), None, None),
    ],
)
def test_better(best, value, before, found):
    assert better({"x": value}, best, before) == found


def test_what_is_not_measured_cannot_be_best(hundred, tmp_path):
    with pytest.raises(ValueError, match="chosen by 'beauty', and measured is: validation, "):
        next(train(drawing(tmp_path, hundred, best="most beauty")))
    with pytest.raises(ValueError, match="measured is: nothing"):
        next(train(drawing(tmp_path, hundred, validation=0)))


# Killed and continued; the folder


def written(folder, run):
    runfolder.write_plan(folder, run.model, run.config, data="digits", prompts=("a handwritten one",), notes={})
    run.pictures.save(folder / runfolder.PICTURES)


@pytest.mark.parametrize("kind", [drawing, comparing])
def test_stopped_and_continued_gives_the_same_bits_log_and_best(hundred, tmp_path, kind):
    def part(folder, until):
        run, begun = runfolder.open_run(folder, "cpu")
        list(
            train(
                run,
                keep=lambda run: runfolder.export(run, begun, runfolder.BEST),
                sample=lambda run: runfolder.export(run, begun),
                stop=lambda: run.images_seen >= until,
            )
        )

    for name in ("whole", "parts"):
        written(tmp_path / name, kind(tmp_path / name, hundred))
    part(tmp_path / "whole", 10**9)
    for until in (40, 72, 128, 10**9):
        part(tmp_path / "parts", until)
    for name in (checkpoint.NAME, runfolder.MODEL, runfolder.BEST):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    logs = [[line | {"rate": 0} for line in Log.lines(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    load = load_model if kind is drawing else load_clip
    load(tmp_path / "whole" / runfolder.BEST)
    assert runfolder.open_run(tmp_path / "whole", "cpu")[1].sampling == Sampling()


def test_runs_of_before_are_read(hundred, tmp_path):
    """Their run.json and checkpoint do not know of validation."""
    run = drawing(tmp_path, hundred, validation=0, best="")
    written(tmp_path, run)
    list(train(run, stop=lambda: run.images_seen >= 32))
    path = tmp_path / runfolder.PLAN
    plan = json.loads(path.read_text())
    new = {"validation", "best", "scenes"}
    plan["train"] = {name: value for name, value in plan["train"].items() if name not in new}
    path.write_text(json.dumps(plan))
    found = checkpoint.load(tmp_path)
    facts = {name: value for name, value in found.facts.items() if name != "best"}
    facts["config"] = {name: value for name, value in asdict(run.config).items() if name not in new}
    checkpoint.save(tmp_path, checkpoint.Checkpoint(found.tensors, facts))
    opened, begun = runfolder.open_run(tmp_path, "cpu")
    assert begun.train == run.config
    list(train(opened))
    assert opened.images_seen == 240
    assert opened.best is None
