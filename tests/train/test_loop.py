"""The training loop: it learns, it stops and continues to the bit, and it says when it cannot go on."""

import json

import numpy as np
import pytest
import torch

from unstir.errors import UserError
from unstir.image.png import load_pixels
from unstir.models.description import describe
from unstir.models.generative import final
from unstir.models.pixels import to_model
from unstir.settings import DiffusionSettings
from unstir.train import checkpoint, run_file, run_folder
from unstir.train.log import Log
from unstir.train.loop import Diverged, training_loop
from unstir.train.run_file import RunFile, read_run_file
from unstir.train.samples import save_preview
from unstir.weights.model_file import load_model


def saved(folder):
    return (folder / checkpoint.NAME).read_bytes()


def logged(folder):
    """The lines of the log without the measured rate."""
    return [{name: value for name, value in line.items() if name != "rate"} for line in Log.lines(folder)]


def finish(run, **keywords):
    return list(training_loop(run, **keywords))


def stop_at(run, images):
    return lambda: run.images_seen >= images


def test_overfits_eight_pictures(tiny, tmp_path):
    run = tiny(
        tmp_path,
        images=16 * 350,
        batch_size=16,
        precision="fp32",
        adamw_lr=5e-3,
        caption_dropout=0.0,
        warmup=320,
        cooldown=0.5,
        log_every=16 * 50,
        save_every=10**9,
        ema=0.1,
    )
    reports = finish(run)
    assert reports[-2].loss < 0.2 * reports[0].loss
    captions = [ways[0] for ways in run.pictures.captions]
    with run.evaluating() as model:
        drawn = final(model.draw(captions, range(8), DiffusionSettings(steps=16, guidance_scale=1.0)))
    x0 = to_model(torch.from_numpy(drawn))
    real = to_model(torch.from_numpy(run.pictures.pixels))
    error = (x0[:, None] - real[None]).square().flatten(2).mean(2)
    assert error.argmin(1).tolist() == list(range(8))  # each is the picture of its own caption …
    assert error.diagonal().max() < 0.05  # … and looks like it; the pictures' own variance is 0.5
    assert real.var().item() > 0.4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_stopping_and_continuing_gives_the_same_bits(tiny, tmp_path, precision, optimiser):
    fields = {"precision": precision, "optimiser": optimiser, "log_every": 24, "save_every": 40}
    whole = tiny(tmp_path / "whole", **fields)
    assert finish(whole)[-1].event == "done"
    for at in (8, 40, 56):  # before any checkpoint was due, at one, between two
        part = tiny(tmp_path / "parts", **fields)
        reports = finish(part, stop=stop_at(part, at))
        assert (reports[-1].event, reports[-1].images_seen) == ("stopped", at)
    last = tiny(tmp_path / "parts", **fields)
    assert finish(last)[-1].event == "done"
    assert saved(tmp_path / "whole") == saved(tmp_path / "parts")
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")
    assert [line["images"] for line in logged(tmp_path / "parts")] == [24, 48, 72, 96]


def test_precision_and_optimiser_and_seed_matter(tiny, tmp_path):
    """The comparison above is not one of things that never differ."""
    ways = ({}, {"precision": "fp32"}, {"optimiser": "adamw"}, {"seed": 1})
    weights = []
    for i, fields in enumerate(ways):
        run = tiny(tmp_path / str(i), **fields)
        finish(run)
        weights.append(torch.cat([p.detach().flatten() for p in run.model.parameters()]))
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_abandoned_between_checkpoints(tiny, tmp_path):
    """Closing the generator, as an exception in the consumer does, costs the steps since the checkpoint and no bit."""
    fields = {"log_every": 8, "save_every": 24}
    finish(tiny(tmp_path / "whole", **fields))
    steps = training_loop(tiny(tmp_path / "parts", **fields))
    for _ in range(5):
        next(steps)
    steps.close()
    again = tiny(tmp_path / "parts", **fields)
    seen = [report.images_seen for report in training_loop(again)]
    assert seen[0] == 32  # the steps after the checkpoint at 24 are done again
    assert saved(tmp_path / "whole") == saved(tmp_path / "parts")
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")


def test_a_finished_run_is_left_alone(tiny, tmp_path):
    finish(tiny(tmp_path))
    before = saved(tmp_path), logged(tmp_path)
    drawn = []
    assert finish(tiny(tmp_path), sample=lambda run: drawn.append(run.images_seen)) == []
    assert drawn == []
    assert (saved(tmp_path), logged(tmp_path)) == before


@pytest.mark.parametrize("fields", [{"optimiser": "adamw", "adamw_lr": 1e30}, {"muon_lr": 1e30}])
def test_diverging(tiny, tmp_path, fields):
    run = tiny(tmp_path, warmup=0, save_every=8, **fields)
    with pytest.raises(Diverged, match="lower the learning rate"):
        finish(run)
    # What diverged is not saved over what was well.
    found = checkpoint.load_checkpoint(tmp_path)
    assert all(value.isfinite().all() for name, value in found.tensors.items() if name.startswith("average/"))
    assert found.facts["images_seen"] < run.config.images


@pytest.mark.parametrize("field", [{"seed": 5}, {"batch_size": 4}, {"precision": "fp32"}, {"ema": 0.1}])
def test_another_configuration_is_refused(tiny, tmp_path, field):
    run = tiny(tmp_path)
    finish(run, stop=stop_at(run, 32))
    before = saved(tmp_path)
    with pytest.raises(ValueError, match="another configuration"):
        finish(tiny(tmp_path, **field))
    assert saved(tmp_path) == before


def test_when_samples_are_drawn(tiny, tmp_path):
    drawn = []
    finish(tiny(tmp_path, sample_every=40), sample=lambda run: drawn.append(run.images_seen))
    assert drawn == [0, 40, 80, 96]


def test_sampling_does_not_change_the_run(tiny, tmp_path):
    finish(tiny(tmp_path / "without", sample_every=32))
    prompts = ("a handwritten zero", "a handwritten one", "a handwritten two")
    run = tiny(tmp_path / "with", sample_every=32)
    plan = RunFile("digits", run.config, describe(run.model), {}, prompts, DiffusionSettings(steps=2))
    finish(run, sample=lambda run: save_preview(run, plan))
    assert saved(tmp_path / "with") == saved(tmp_path / "without")
    files = sorted(path.name for path in (tmp_path / "with" / "samples").iterdir())
    assert files == ["000000000.png", "000000032.png", "000000064.png", "000000096.png"]
    first, last = (load_pixels(tmp_path / "with" / "samples" / name) for name in (files[0], files[-1]))
    assert first.shape == last.shape
    assert (first != last).any()


@pytest.mark.parametrize("at", [0, 40, 80, 96])
def test_a_grid_that_was_interrupted_is_drawn_when_the_run_continues(tiny, tmp_path, at):
    drawn = []

    def interrupted(run):
        if run.images_seen == at:
            raise KeyboardInterrupt
        drawn.append(run.images_seen)

    with pytest.raises(KeyboardInterrupt):
        finish(tiny(tmp_path / "parts", sample_every=40, save_every=8), sample=interrupted)
    finish(
        tiny(tmp_path / "parts", sample_every=40, save_every=8),
        sample=lambda run: drawn.append(run.images_seen),
    )
    assert drawn == [0, 40, 80, 96]
    finish(tiny(tmp_path / "whole", sample_every=40, save_every=8))
    assert saved(tmp_path / "whole") == saved(tmp_path / "parts")


def test_evaluating_lends_the_average_and_gives_the_weights_back(tiny, tmp_path):
    run = tiny(tmp_path)
    finish(run)
    own = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    assert any(not torch.equal(own[name], value) for name, value in run.average.weights.items())
    with run.evaluating() as model:
        assert not model.training
        assert all(torch.equal(p, run.average.weights[name]) for name, p in model.named_parameters())
    assert run.model.training
    assert all(torch.equal(p, own[name]) for name, p in run.model.named_parameters())
    with pytest.raises(RuntimeError, match="on the way"), run.evaluating():
        raise RuntimeError("on the way")
    assert all(torch.equal(p, own[name]) for name, p in run.model.named_parameters())
    assert run.model.training


def test_everything_that_looks_at_a_model_sees_it_in_evaluation_mode(tiny, tmp_path):
    modes = []
    run = tiny(tmp_path, sample_every=48)
    finish(run, measure=lambda run: modes.append(run.model.training) or {})
    assert modes == [False] * 3
    assert run.model.training


def test_a_run_can_be_reset(tiny, tmp_path):
    """Back at the beginning it goes the same way again, with the weights it had."""
    run = tiny(tmp_path / "again")
    weights = {name: value.clone() for name, value in run.model.state_dict().items()}
    for _ in range(3):
        run.step()
    run.model.load_state_dict(weights)
    run.reset()
    assert (run.images_seen, run.best, run.seconds) == (0, None, 0.0)
    finish(run)
    finish(tiny(tmp_path / "whole"))
    assert saved(tmp_path / "again") == saved(tmp_path / "whole")


def test_reports(tiny, tmp_path):
    reports = finish(tiny(tmp_path, log_every=32))
    assert [(r.event, r.images_seen) for r in reports] == [("log", 32), ("log", 64), ("log", 96), ("done", 96)]
    assert all(r.rate > 0 and r.seconds_left >= 0 for r in reports)
    assert reports[2].seconds_left == 0


# The folder of a run


def begun(run):
    RunFile(
        data="far/away/digits",
        train=run.config,
        model=describe(run.model),
        notes={"name": "eight"},
        prompts=("a handwritten zero",),
        settings=DiffusionSettings(steps=3, interval=(0.1, 0.9)),
    ).write(run.folder)
    run.pictures.save(run.folder / run_folder.PICTURES)
    return run_folder.open_run(run.folder, "cpu")


def test_a_run_opened_from_its_folder_is_the_run_that_was_begun(tiny, tmp_path):
    finish(tiny(tmp_path / "whole"))
    opened, plan = begun(tiny(tmp_path / "run"))
    finish(opened, stop=stop_at(opened, 24))
    assert plan == read_run_file(tmp_path / "run")
    assert plan.settings.interval == (0.1, 0.9)
    again, _ = run_folder.open_run(tmp_path / "run", "cpu")
    finish(again)
    assert saved(tmp_path / "run") == saved(tmp_path / "whole")


def test_export_writes_a_model_of_the_averaged_weights(tiny, tmp_path):
    run, plan = begun(tiny(tmp_path))
    finish(run)
    run_folder.export(run, plan)
    loaded = load_model(tmp_path, dtype=torch.float32)
    assert loaded.path == tmp_path / run_folder.MODEL
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, run.average.weights[name].half().float()), name
    assert loaded.settings == plan.settings
    # The name of the data alone: a model that is shared does not say where its pictures lie.
    assert loaded.notes == {"name": "eight", "images": 96, "images_seen": 96, "data": "digits"}
    assert loaded.model.config == run.model.config
    with run.evaluating() as model:
        wanted = final(model.draw(["a handwritten one"], [3], plan.settings))
    got = final(loaded.model.draw(["a handwritten one"], [3], loaded.settings))
    assert np.abs(wanted.astype(int) - got.astype(int)).max() <= 8  # float16 weights round a little


@pytest.mark.parametrize(
    ("names", "free"),
    [
        ((), True),
        (("pictures/pixels.npy",), True),
        (("pictures/pixels.npy", "pictures/pictures.jsonl", ".run.json.1-00.tmp"), True),
        (("pictures/holiday.jpg",), False),
        (("notes.txt",), False),
        (("checkpoint.safetensors",), False),
    ],
)
def test_where_a_run_may_begin(tmp_path, names, free):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert run_folder.is_free(tmp_path) is free
    assert run_folder.is_free(tmp_path / "not there")


def test_the_plan_is_json_that_people_can_read(tiny, tmp_path):
    run = tiny(tmp_path)
    begun(run)
    text = (tmp_path / run_file.NAME).read_text()
    assert json.loads(text)["train"]["images"] == 96
    assert text.count("\n") > 20


def test_two_processes_never_train_in_one_folder(tmp_path):
    with (
        run_folder.exclusive(tmp_path),
        pytest.raises(UserError, match="another process"),
        run_folder.exclusive(tmp_path),
    ):
        pass
    with run_folder.exclusive(tmp_path):
        pass


def test_a_step_leaves_no_gradients_behind(tiny, tmp_path):
    run = tiny(tmp_path)
    run.step()
    assert run.images_seen == 8
    assert all(parameter.grad is None for parameter in run.model.parameters())
