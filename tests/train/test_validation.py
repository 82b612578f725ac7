"""Pictures held back: never trained on, measured at fixed noise, and the best weights kept by what they say."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from recipe_runs import SMALL_CLIP_TEXT, SMALL_TEXT, run_of_recipe

from unstir.data.digits import digit_pictures
from unstir.diffusion.noise import TRAINING, normal
from unstir.models.clip import ClipConfig
from unstir.models.description import describe
from unstir.models.diffusion import Batch, DiffusionConfig
from unstir.models.pixels import to_model
from unstir.nn.dit import DiTConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import DiffusionSettings
from unstir.train import checkpoint, run_file, run_folder, validation
from unstir.train.batches import rows_at, split
from unstir.train.config import TrainConfig
from unstir.train.kinds import held_out_pictures
from unstir.train.log import Log
from unstir.train.loop import training_loop
from unstir.train.monitor import better
from unstir.train.recipe import Recipe
from unstir.train.run_file import RunFile
from unstir.train.validation import LEVELS, diffusion_losses, mean_losses, retrieval
from unstir.weights.model_file import load_clip, load_model

CONFIG = TrainConfig(
    images=240, batch_size=8, warmup=16, save_every=32, log_every=24, sample_every=64, validation=20,
    best="least validation",
)  # fmt: skip


@pytest.fixture(scope="module")
def hundred():
    pictures = digit_pictures().take(range(100))
    pictures.captions = [ways[:1] for ways in pictures.captions]
    return pictures


def drawing(folder, pictures, **fields):
    network = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    model = DiffusionConfig(network, SMALL_TEXT)
    recipe = Recipe(model=model, train=replace(CONFIG, **fields), prompts=("a handwritten one",))
    return run_of_recipe(recipe, pictures, folder)


def comparing(folder, pictures, **fields):
    vision = VisionConfig(8, 3, patch=2, width=32, depth=1, heads=1, mlp=64)
    config = replace(CONFIG, **({"best": "most image-to-text R@1"} | fields))
    return run_of_recipe(Recipe(model=ClipConfig(vision, SMALL_CLIP_TEXT, width=16), train=config), pictures, folder)


def of_log(folder, name):
    return {line["images"]: line[name] for line in Log.lines(folder) if name in line}


# Rows


@pytest.mark.parametrize("by", ["content", "row"])
def test_the_rows_held_back_are_never_trained_on(hundred, by):
    config = replace(CONFIG, validation_by=by)
    trained, held = split(hundred, config)
    assert sorted([*trained, *held]) == list(range(100))
    assert len(held) == 20
    assert held.tolist() == sorted(held.tolist())
    seen = {row for images in range(0, 400, 8) for row in rows_at(trained, config, images).tolist()}
    assert seen == set(trained.tolist())
    assert not np.array_equal(held, split(hundred, replace(config, seed=1))[1])
    assert held_out_pictures(hundred, config).keys == [hundred.keys[row] for row in held]


def test_rows_of_the_same_pixels_are_held_back_together(hundred):
    """As where a picture has five captions, each a row of its own."""
    five = hundred.take([row for row in range(30) for _ in range(5)])
    for seed in range(5):
        trained, held = split(five, replace(CONFIG, seed=seed))
        assert len(held) == 20
        assert not {row // 5 for row in trained} & {row // 5 for row in held}
        held = split(five, replace(CONFIG, seed=seed, validation=18))[1]
        assert len(held) == 20, "a few more, rather than to part them"
        # Runs from before version 0.2 continue with their own rows.
        trained, held = split(five, replace(CONFIG, seed=seed, validation_by="row"))
        assert {row // 5 for row in trained} & {row // 5 for row in held}


def test_with_none_held_back_the_order_is_that_of_before(hundred):
    from unstir.data.order import ORDER, order
    from unstir.diffusion.noise import derive_seed

    plain = replace(CONFIG, validation=0, best="")
    trained, held = split(hundred, plain)
    assert len(held) == 0
    assert np.array_equal(rows_at(trained, plain, 24), order(100, derive_seed(0, ORDER), 24, 8))


def test_something_must_be_left_to_learn(hundred, tmp_path):
    with pytest.raises(ValueError, match="none would be left"):
        next(training_loop(drawing(tmp_path, hundred, validation=100)))
    same = hundred.take([0] * 30)
    with pytest.raises(ValueError, match="the rest have the same pixels"):
        split(same, CONFIG)


def test_configurations_that_make_no_sense():
    for fields in ({"validation": -1}, {"best": "validation"}, {"best": "fewest errors"}, {"validation_by": "luck"}):
        with pytest.raises(ValueError, match=r"validation|best"):
            replace(CONFIG, **fields)


# Measures


def test_the_loss_of_a_model_that_draws_is_that_at_fixed_times_and_noise(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    held = held_out_pictures(hundred, run.config)
    measured = diffusion_losses(run.model, held, 8)
    assert list(measured) == ["validation", *(f"validation at {level}" for level in LEVELS)]
    batch = Batch(to_model(torch.from_numpy(held.pixels)), run.model.tokenize([ways[0] for ways in held.captions]))
    for k, level in enumerate(LEVELS):
        eps = torch.stack([normal((3, 8, 8), i, k, TRAINING) for i in range(20)])
        with torch.no_grad():
            expected = run.model.loss_at(batch, torch.full((20,), level), eps).mean().item()
        assert measured[f"validation at {level}"] == pytest.approx(expected, rel=1e-4)
    levels = [measured[f"validation at {level}"] for level in LEVELS]
    assert measured["validation"] == pytest.approx(np.mean(levels))
    assert diffusion_losses(run.model, held, 20)["validation"] == pytest.approx(measured["validation"], rel=1e-4)


def test_the_mean_loss_of_any_model(hundred, tmp_path):
    """What is measured of a kind that does not say how: random numbers by the number of the batch alone."""
    run = drawing(tmp_path, hundred)
    held = held_out_pictures(hundred, run.config)
    expected = 0.0
    for number in range(3):
        part = held.take(range(8 * number, min(8 * number + 8, 20)))
        batch = run.model.batch(torch.from_numpy(part.pixels), [ways[0] for ways in part.captions])
        ((_, loss),) = run.model.losses(batch, torch.Generator().manual_seed(number))
        expected += loss.item() * len(part) / 20
    assert mean_losses(run.model, held, 8) == {"validation": pytest.approx(expected, rel=1e-5)}
    assert mean_losses(run.model, hundred.take([]), 8) == {}


def test_retrieval_counts_what_is_true(hundred, monkeypatch):
    held = hundred.take(range(4))
    held.captions = [("a", "b"), ("b",), ("c",), ("a",)]
    pictures = torch.eye(4)
    words = torch.tensor([[0.9, 0, 0, 0.1], [0.8, 0.7, 0, 0], [0, 0, 0.1, 0.3]])  # of "a", "b", "c"
    # Picture 0 is nearest to "a", 1 to "b", 2 to "c", 3 to "c", which is wrong.
    # "a" finds picture 0, "b" picture 0, of which it is true too, "c" picture 3, which is wrong.
    monkeypatch.setattr(validation, "embeddings", lambda *_: (pictures, ["a", "b", "c"], words))
    found = retrieval(None, held, 8)
    assert found == {"image-to-text R@1": 0.75, "text-to-image R@1": pytest.approx(2 / 3)}


def test_nothing_is_measured_where_nothing_is_held_back(hundred, tmp_path):
    run = drawing(tmp_path, hundred, validation=0, best="")
    list(training_loop(run))
    assert all("loss" in line for line in Log.lines(tmp_path))


# In the loop


def test_measures_are_logged_when_samples_are_drawn(hundred, tmp_path):
    list(training_loop(drawing(tmp_path, hundred)))
    losses = of_log(tmp_path, "validation")
    assert list(losses) == [0, 64, 128, 192, 240]
    assert losses[240] < losses[0]
    list(training_loop(comparing(tmp_path / "clip", hundred)))
    assert list(of_log(tmp_path / "clip", "image-to-text R@1")) == [0, 64, 128, 192, 240]


def test_measuring_does_not_change_the_run(hundred, tmp_path):
    """The same pictures are held back, whether they are looked at or not."""
    list(training_loop(drawing(tmp_path / "often", hundred, sample_every=8)))
    list(training_loop(drawing(tmp_path / "seldom", hundred, sample_every=10**6)))
    often, seldom = (checkpoint.load_checkpoint(tmp_path / name) for name in ("often", "seldom"))
    assert all(torch.equal(value, often.tensors[name]) for name, value in seldom.tensors.items())


def test_the_averaged_weights_are_measured(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    list(training_loop(run))
    held = held_out_pictures(hundred, run.config)
    own = diffusion_losses(run.model, held, 8)
    with run.evaluating() as model:
        averaged = diffusion_losses(model, held, 8)
    assert of_log(tmp_path, "validation")[240] == averaged["validation"] != own["validation"]


def test_the_best_weights_are_kept(hundred, tmp_path):
    values = iter([5.0, 3.0, 4.0, 3.0, 3.5])
    kept, drawn = [], []
    run = drawing(tmp_path, hundred, best="least distance")
    list(
        training_loop(
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
    assert checkpoint.load_checkpoint(tmp_path).facts["best"] == 3.0


def test_a_measure_sees_the_averaged_weights(hundred, tmp_path):
    run = drawing(tmp_path, hundred)
    same = []

    def measure(run):
        weights = dict(run.model.named_parameters())
        same.append(all(torch.equal(weights[name], value) for name, value in run.average.weights.items()))
        return {}

    list(training_loop(run, measure=measure))
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
    with pytest.raises(ValueError, match="selected by 'beauty', but the metrics are: validation, "):
        next(training_loop(drawing(tmp_path, hundred, best="most beauty")))
    with pytest.raises(ValueError, match="metrics are: nothing"):
        next(training_loop(drawing(tmp_path, hundred, validation=0)))


# Killed and continued; the folder


def written(folder, run):
    settings = DiffusionSettings() if run.kind == "diffusion" else None
    plan = RunFile("digits", run.config, describe(run.model), {}, ("a handwritten one",), settings)
    plan.write(folder)
    run.pictures.save(folder / run_folder.PICTURES)


@pytest.mark.parametrize("kind", [drawing, comparing])
def test_stopped_and_continued_gives_the_same_bits_log_and_best(hundred, tmp_path, kind):
    def part(folder, until):
        run, begun = run_folder.open_run(folder, "cpu")
        list(
            training_loop(
                run,
                keep=lambda run: run_folder.export(run, begun, run_folder.BEST),
                sample=lambda run: run_folder.export(run, begun),
                stop=lambda: run.images_seen >= until,
            )
        )

    for name in ("whole", "parts"):
        written(tmp_path / name, kind(tmp_path / name, hundred))
    part(tmp_path / "whole", 10**9)
    for until in (40, 72, 128, 10**9):
        part(tmp_path / "parts", until)
    for name in (checkpoint.NAME, run_folder.MODEL, run_folder.BEST):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    logs = [[line | {"rate": 0} for line in Log.lines(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    load = load_model if kind is drawing else load_clip
    load(tmp_path / "whole" / run_folder.BEST)
    settings = run_folder.open_run(tmp_path / "whole", "cpu")[1].settings
    assert settings == (DiffusionSettings() if kind is drawing else None)


def test_runs_of_before_are_read(hundred, tmp_path):
    """Their run.json and checkpoint do not know of validation."""
    run = drawing(tmp_path, hundred, validation=0, best="")
    written(tmp_path, run)
    list(training_loop(run, stop=lambda: run.images_seen >= 32))
    path = tmp_path / run_file.NAME
    plan = json.loads(path.read_text())
    new = {"validation", "validation_by", "best", "betas", "parts", "budget"}
    plan["train"] = {name: value for name, value in plan["train"].items() if name not in new}
    path.write_text(json.dumps(plan))
    found = checkpoint.load_checkpoint(tmp_path)
    kept = {name: value for name, value in found.facts.items() if name == "images_seen"}
    facts = kept | {"loss_sum": found.facts["loss_sums"]["main"], "loss_count": found.facts["loss_counts"]["main"]}
    facts["config"] = {name: value for name, value in asdict(run.config).items() if name not in new}
    checkpoint.save_checkpoint(tmp_path, checkpoint.Checkpoint(found.tensors, facts))
    opened, begun = run_folder.open_run(tmp_path, "cpu")
    assert begun.train == replace(run.config, validation_by="row")
    list(training_loop(opened))
    assert opened.images_seen == 240
    assert opened.best is None
