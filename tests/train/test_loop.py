"""The training loop: it learns, it stops and continues to the bit, and it says when it cannot go on."""

import json

import numpy as np
import pytest
import torch

from unstir.errors import UserError
from unstir.image.png import load_pixels
from unstir.models.diffusion import Sampling
from unstir.models.pixels import to_model
from unstir.train import checkpoint
from unstir.train import run_folder as runfolder
from unstir.train.log import Log
from unstir.train.loop import Diverged, train
from unstir.train.samples import averaged, draw, sampler_grid
from unstir.weights.model_file import load_model


def saved(folder):
    return (folder / checkpoint.NAME).read_bytes()


def logged(folder):
    """The lines of the log without the measured rate."""
    return [{name: value for name, value in line.items() if name != "rate"} for line in Log.lines(folder)]


def finish(run, **keywords):
    return list(train(run, **keywords))


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
    with averaged(run) as model:
        drawn = draw(model, captions, range(8), Sampling(steps=16, guidance_scale=1.0))
    x0 = to_model(torch.from_numpy(np.stack(drawn)))
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
    steps = train(tiny(tmp_path / "parts", **fields))
    for _ in range(5):
        next(steps)
    steps.close()
    again = tiny(tmp_path / "parts", **fields)
    seen = [report.images_seen for report in train(again)]
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
    found = checkpoint.load(tmp_path)
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
    grid = sampler_grid(prompts, Sampling(steps=2), columns=2)
    finish(tiny(tmp_path / "with", sample_every=32), sample=grid)
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


def test_averaged_lends_the_average_and_gives_the_weights_back(tiny, tmp_path):
    run = tiny(tmp_path)
    finish(run)
    own = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    assert any(not torch.equal(own[name], value) for name, value in run.average.weights.items())
    with averaged(run) as model:
        assert all(torch.equal(p, run.average.weights[name]) for name, p in model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in run.model.named_parameters())
    with pytest.raises(RuntimeError, match="on the way"), averaged(run):
        raise RuntimeError("on the way")
    assert all(torch.equal(p, own[name]) for name, p in run.model.named_parameters())


def test_reports(tiny, tmp_path):
    reports = finish(tiny(tmp_path, log_every=32))
    assert [(r.event, r.images_seen) for r in reports] == [("log", 32), ("log", 64), ("log", 96), ("done", 96)]
    assert all(r.rate > 0 and r.seconds_left >= 0 for r in reports)
    assert reports[2].seconds_left == 0


# The folder of a run


def begun(run):
    runfolder.write_plan(
        run.folder,
        run.model,
        run.config,
        data="digits",
        prompts=("a handwritten zero",),
        sampling=Sampling(steps=3, interval=(0.1, 0.9)),
        notes={"name": "eight"},
    )
    run.pictures.save(run.folder / runfolder.PICTURES)
    return runfolder.open_run(run.folder, "cpu")


def test_a_run_opened_from_its_folder_is_the_run_that_was_begun(tiny, tmp_path):
    finish(tiny(tmp_path / "whole"))
    opened, plan = begun(tiny(tmp_path / "run"))
    finish(opened, stop=stop_at(opened, 24))
    assert plan == runfolder.read_plan(tmp_path / "run")
    assert plan.sampling.interval == (0.1, 0.9)
    again, _ = runfolder.open_run(tmp_path / "run", "cpu")
    finish(again)
    assert saved(tmp_path / "run") == saved(tmp_path / "whole")


def test_export_writes_a_model_of_the_averaged_weights(tiny, tmp_path):
    run, plan = begun(tiny(tmp_path))
    finish(run)
    runfolder.export(run, plan)
    loaded = load_model(tmp_path, dtype=torch.float32)
    assert loaded.path == tmp_path / runfolder.MODEL
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, run.average.weights[name].half().float()), name
    assert loaded.sampling == plan.sampling
    assert loaded.notes == {"name": "eight", "images": 96, "images_seen": 96, "data": "digits"}
    assert loaded.model.config == run.model.config
    with averaged(run) as model:
        wanted = draw(model, ["a handwritten one"], [3], plan.sampling)[0]
    got = draw(loaded.model, ["a handwritten one"], [3], loaded.sampling)[0]
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
    assert runfolder.is_free(tmp_path) is free
    assert runfolder.is_free(tmp_path / "not there")


def test_the_plan_is_json_that_people_can_read(tiny, tmp_path):
    run = tiny(tmp_path)
    begun(run)
    text = (tmp_path / runfolder.PLAN).read_text()
    assert json.loads(text)["train"]["images"] == 96
    assert text.count("\n") > 20


def test_two_processes_never_train_in_one_folder(tmp_path):
    with (
        runfolder.exclusive(tmp_path),
        pytest.raises(UserError, match="another process"),
        runfolder.exclusive(tmp_path),
    ):
        pass
    with runfolder.exclusive(tmp_path):
        pass


def test_a_step_leaves_no_gradients_behind(tiny, tmp_path):
    run = tiny(tmp_path)
    run.step()
    assert run.images_seen == 8
    assert all(parameter.grad is None for parameter in run.model.parameters())
