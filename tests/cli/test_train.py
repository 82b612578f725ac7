"""`unstir train`: from a folder to a model, stopped and continued, and every refusal in one sentence."""

import json
import os
import shutil
import signal
import tarfile
import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstir import recipes
from unstir.cli import main
from unstir.durations import duration, parse_duration
from unstir.errors import UserError
from unstir.image.png import load_pixels
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.nn.vision import VisionConfig
from unstir.recipes.clip_digits import clip_digits
from unstir.settings import DiffusionSettings
from unstir.train import auto_recipe, checkpoint, run_file, run_folder
from unstir.train.begin import expectation
from unstir.train.config import TrainConfig
from unstir.train.log import Log
from unstir.train.recipe import Recipe
from unstir.train.run_file import read_run_file
from unstir.weights.model_file import load_model, save_model


def tiny():
    """Twelve steps of a model that trains in a blink."""
    return Recipe(
        model=DiffusionConfig(
            DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32),
            TextConfig(vocabulary=290, length=12, width=32, depth=1),
        ),
        train=TrainConfig(images=96, batch_size=8, warmup=16, log_every=8, sample_every=40, save_every=16),
        prompts=("a red disc", "a blue box"),
        settings=DiffusionSettings(steps=2),
    )


def endless():
    return tiny().with_train(images=8_000_000, sample_every=8_000_000)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tiny recipes, a tiny size "s" and a small grid, so that the commands are tried and not the processor."""
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"tiny": tiny, "endless": endless})
    monkeypatch.setitem(auto_recipe.SIZES, "s", auto_recipe.NetworkSize((32, 32, 32), 32, 1, 16, 1e-3))
    prompts = auto_recipe.sample_prompts
    monkeypatch.setattr(auto_recipe, "sample_prompts", lambda pictures: prompts(pictures, 2))


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """The folder of a finished run; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("finished") / "r"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "recipe_table", lambda: {"tiny": tiny})
        assert main(["train", str(photos), "--recipe", "tiny", "--run", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of one's own."""
    return shutil.copytree(finished, tmp_path / "r")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Fine-tuning


def weights_of(folder):
    return load_model(folder / "model.safetensors", dtype=torch.float32).model.state_dict()


def test_fine_tuning(call, photos, finished, tmp_path):
    run = tmp_path / "r"
    code, _, said = call("train", photos, "--from", finished, "--budget", "4s", "--run", run)
    assert code == 0
    assert f"fine-tuning {finished}: 8×8 pixels" in said
    assert read_run_file(run).settings == DiffusionSettings(steps=2)
    assert read_run_file(run).notes["from"] == finished.name
    before, after = weights_of(finished), weights_of(run)
    far = {name: (after[name] - value).norm() / value.norm().clamp(min=1e-3) for name, value in before.items()}
    # Other weights than before, and nowhere near those of a fresh start: the largest matrices have hardly moved.
    assert max(far.values()) > 0
    assert far["text.embed.weight"] < 0.5
    assert (run / run_folder.INITIAL_MODEL).read_bytes() == (finished / "model.safetensors").read_bytes()
    assert call("train", photos, "--run", run)[0] == 0


def test_fine_tuning_by_recipe(call, photos, finished, tmp_path, monkeypatch):
    none = tiny().with_train(images=8, adamw_lr=0.0, muon_lr=0.0)
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"none": lambda: none})
    assert call("train", photos, "--recipe", "none", "--from", finished, "--run", tmp_path / "r")[0] == 0
    before, after = weights_of(finished), weights_of(tmp_path / "r")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_layout_predictor_is_kept(call, photos, finished, tmp_path):
    old = load_model(finished / "model.safetensors", dtype=torch.float32).model
    model = Diffusion(replace(old.config, layout=LayoutConfig(16, 1, 2)), old.tokenizer)
    initialise(model, 0)
    save_model(tmp_path / "layout.safetensors", model)
    run = tmp_path / "r"
    assert call("train", photos, "--from", tmp_path / "layout.safetensors", "--budget", "4s", "--run", run)[0] == 0
    before = load_model(tmp_path / "layout.safetensors", dtype=torch.float32).model.state_dict()
    after = weights_of(run)
    predictor = [name for name in after if name.startswith("layout.")]
    assert predictor
    assert all(torch.equal(after[name], before[name]) for name in predictor), "these pictures have no layout"
    assert not torch.equal(after["network.out.weight"], before["network.out.weight"])


def test_what_cannot_be_fine_tuned(refused, photos, finished, tmp_path, monkeypatch):
    network = replace(tiny().model.network, width=64)
    wide = replace(tiny(), model=replace(tiny().model, network=network))
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"wide": lambda: wide, "clip": clip_digits})
    train = ("train", photos, "--run", tmp_path / "r", "--from")
    assert "there is no model" in refused(*train, tmp_path / "nothing")
    assert "omit --size" in refused(*train, finished, "--size", "s")
    assert "omit --size and --kind" in refused(*train, finished, "--kind", "clip")
    assert "the networks or the text encoders differ" in refused(*train, finished, "--recipe", "wide")
    assert "trains a model that draws no pictures" in refused(*train, finished, "--recipe", "clip")
    folder = tmp_path / "wordy"
    shutil.copytree(photos, folder)
    caption = next(folder.glob("*.txt"))
    caption.write_text("a disc " * 30)
    assert "reads 12 tokens, and a caption has" in refused(
        "train", folder, "--from", finished, "--budget", "4s", "--run", tmp_path / "s"
    )


@pytest.mark.parametrize("damage", ["gone", "another"])
def test_a_run_whose_start_was_lost(refused, photos, finished, tmp_path, monkeypatch, damage):
    none = tiny().with_train(images=8)
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"none": lambda: none})
    run = tmp_path / "r"
    assert main(["train", str(photos), "--recipe", "none", "--from", str(finished), "--run", str(run)]) == 0
    if damage == "gone":
        (run / run_folder.INITIAL_MODEL).unlink()
    else:
        model = load_model(finished / "model.safetensors", dtype=torch.float32).model
        wide = Diffusion(replace(model.config, network=replace(model.config.network, width=64)), model.tokenizer)
        initialise(wide, 0)
        save_model(run / run_folder.INITIAL_MODEL, wide)
    assert "start.safetensors" in refused("train", photos, "--run", run)


# A CLIP that evaluates


def test_a_clip_scores_at_each_evaluation(call, refused, photos, tmp_path, monkeypatch):
    clip = replace(
        clip_digits(),
        train=replace(tiny().train, images=16, validation=0, best=""),
        model=replace(clip_digits().model, vision=VisionConfig(8, 3, patch=4, width=32, depth=1, heads=2)),
    )
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"tiny": tiny, "clip": lambda: clip})
    clip_run, run = tmp_path / "clip", tmp_path / "r"
    assert call("train", photos, "--recipe", "clip", "--run", clip_run)[0] == 0
    assert call("train", photos, "--recipe", "tiny", "--run", run, "--eval-clip", clip_run)[0] == 0
    evaluations = [line for line in Log.lines(run) if "CLIP score" in line]
    assert [line["images"] for line in evaluations] == [0, 40, 80, 96]
    assert len({line["CLIP score, real"] for line in evaluations}) == 1
    assert all(-100 <= line["CLIP score"] <= 100 and "KID" in line for line in evaluations)
    assert "the model of this run draws none" in refused("train", photos, "--run", clip_run, "--eval-clip", clip_run)
    assert "there is no model" in refused("train", photos, "--run", run, "--judge", tmp_path / "none"), (
        "the former name"
    )


# From a folder to a model


def test_from_a_folder_to_a_picture(call, photos, tmp_path):
    run = tmp_path / "r"
    code, _, said = call("train", photos, "--budget", "5s", "--run", run)
    assert code == 0
    assert "40 of 41 captioned pictures can be used" in said
    assert "mute: it has no caption" in said
    assert "broken: the picture cannot be decoded" in said
    assert "chosen: a diffusion model, 32×32 pixels, without transparency" in said
    assert f"done: {run / 'model.safetensors'}" in said
    suggestion = said.splitlines()[-1]
    assert suggestion == f"try: unstir generate 'a red disc' --model {run}"
    assert call("generate", "a red disc", "--model", run, "--seed", 1, "--out", tmp_path / "out")[0] == 0
    assert load_pixels(tmp_path / "out" / "a-red-disc-1.png").shape == (32, 32, 3)
    assert read_run_file(run).data == str(photos)


@pytest.mark.parametrize("again", [(), ("--budget", "9h"), ("--recipe", "tiny", "--seed", "3")])
def test_a_finished_run_says_so_and_stays(call, photos, run, again):
    before = contents(run)
    code, _, said = call("train", photos, "--run", run, *again)
    assert code == 0
    assert "resuming the run" in said
    assert f"done: {run / 'model.safetensors'}" in said
    assert contents(run) == before


def test_a_finished_run_whose_model_was_deleted_writes_it_again(call, photos, run):
    model = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").unlink()
    assert call("train", photos, "--run", run)[0] == 0
    assert (run / "model.safetensors").read_bytes() == model


def test_a_slash_at_the_end_is_the_same_folder(call, photos, run):
    assert call("train", f"{photos}/", "--run", run)[0] == 0


def interrupt_after(folder, lines):
    """Press Ctrl-C when the log of this run has that many lines."""

    def watch():
        while len(Log.lines(folder)) < lines:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_ctrl_c_saves_and_says_how_to_go_on(call, photos, tmp_path):
    run = tmp_path / "r"
    handler = signal.getsignal(signal.SIGINT)
    seen = []
    for lines in (2, 4):
        thread = interrupt_after(run, lines)
        code, _, said = call("train", photos, "--recipe", "endless", "--run", run)
        thread.join()
        assert code == 0
        assert "stopping after this step" in said
        images = checkpoint.load_checkpoint(run).facts["images_seen"]
        assert f"stopped after {images:,} of 8,000,000 pictures; everything is saved." in said
        assert said.splitlines()[-1].endswith(f"To continue: unstir train {photos} --run {run}")
        assert [line["images"] for line in Log.lines(run)] == list(range(8, images + 1, 8))
        assert (run / "model.safetensors").exists()
        seen.append(images)
    assert seen[1] > seen[0] >= 16
    assert signal.getsignal(signal.SIGINT) is handler
    assert call("generate", "a red disc", "--model", run, "--seed", 1, "--out", tmp_path / "out")[0] == 0


def test_stopped_and_continued_is_the_run_that_was_never_stopped(call, photos, finished, tmp_path):
    run = tmp_path / "r"
    for lines in (3, 7):
        thread = interrupt_after(run, lines)
        call("train", photos, "--recipe", "tiny", "--run", run)
        thread.join()
    call("train", photos, "--recipe", "tiny", "--run", run)
    assert contents(run).keys() == contents(finished).keys()
    for name in ("model.safetensors", checkpoint.NAME):
        assert (run / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("stage", ["unstir.train.begin.new_model", "unstir.train.measure_rate.measured_rate"])
def test_stopped_while_it_begins(call, photos, tmp_path, monkeypatch, stage):
    """Before run.json is written, Ctrl-C leaves a folder in which the same command begins anew."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    ask = ("train", photos, "--budget", "1s", "--run", tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(stage, interrupted)
        assert call(*ask)[::2][0] == 130
    assert not run_folder.exists(tmp_path / "r")
    assert call(*ask)[0] == 0


def test_recipe_names_what_it_leaves_out(call, photos, tmp_path):
    _, _, said = call("train", photos, "--recipe", "tiny", "--run", tmp_path / "r")
    assert "mute: it has no caption" in said
    assert "broken: the picture cannot be decoded" in said
    assert "recipe tiny: 96 pictures, 2 passes" in said


def test_seed_and_built_in_pictures(call, tmp_path):
    weights = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        assert call("train", "digits", "--recipe", "tiny", "--seed", seed, "--run", run)[0] == 0
        weights.append(checkpoint.load_checkpoint(run).tensors["model/network.out.weight"])
    assert (weights[0] != weights[1]).any()


@pytest.mark.filterwarnings("default")  # of tensorboard's own imports
def test_tensorboard_beside_the_log(call, photos, tmp_path):
    pytest.importorskip("tensorboard")
    assert call("train", photos, "--recipe", "tiny", "--tensorboard", "--run", tmp_path / "r")[0] == 0
    assert any((tmp_path / "r" / "tensorboard").iterdir())


# Bad input


def test_bad_data(refused, tmp_path):
    def said(data):
        return refused("train", data, "--budget", "1s", "--run", tmp_path / "r")

    (tmp_path / "empty").mkdir()
    (tmp_path / "hopeless").mkdir()
    (tmp_path / "hopeless" / "a.png").write_bytes(b"")
    (tmp_path / "hopeless" / "a.txt").write_text("nothing")
    (tmp_path / "file.zip").write_bytes(b"PK")
    assert "no folder or .tar file" in said(tmp_path / "missing")
    assert "no pictures" in said(tmp_path / "empty")
    assert "neither a folder nor a .tar" in said(tmp_path / "file.zip")
    assert not (tmp_path / "r").exists()
    assert "no picture of" in said(tmp_path / "hopeless")
    assert not run_folder.exists(tmp_path / "r")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_tar(refused, photos, tmp_path, share):
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as tar:
        tar.add(photos, ".")
    content = whole.read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(content[: int(share * len(content.rstrip(b"\0")))])
    sentence = refused("train", cut, "--budget", "1s", "--run", tmp_path / "r")
    assert "is cut off or damaged" in sentence or "is not a readable tar file" in sentence
    assert str(cut) in sentence


def test_unknown_recipe(refused, photos, tmp_path):
    sentence = refused("train", photos, "--recipe", "soup", "--run", tmp_path / "r")
    assert sentence == "unstir: there is no recipe 'soup'; there are: tiny, endless"


def test_a_recipe_that_wants_nothing_of_it(refused, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"icons": lambda: replace(tiny(), wanted=lambda meta: False)})
    assert "selects none of the 41" in refused("train", photos, "--recipe", "icons", "--run", tmp_path / "r")


def test_run_folder_of_somebody(refused, photos, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "file").mkdir()
    assert "is not empty and holds no run" in refused("train", photos, "--run", tmp_path)
    (tmp_path / "plain").write_text("a file")
    assert "is a file; name a folder" in refused("train", photos, "--run", tmp_path / "plain")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_run_on_other_pictures(refused, photos, run):
    before = contents(run)
    assert f"is a run on {photos}, not on digits" in refused("train", "digits", "--run", run)
    assert contents(run) == before


@pytest.mark.parametrize("budget", ["", "soon", "0s", "-5m", "nan", "inf", "5d", "1e999h", "m", "5"])
def test_bad_budgets(refused, photos, tmp_path, budget):
    sentence = refused("train", photos, f"--budget={budget}", "--run", tmp_path / "r")
    assert "budget" in sentence
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "-1"), "--seed must be"),
        (("--seed", str(2**32)), "--seed must be"),
        (("--size", "xxl"), "--size"),
        (("--device", "toaster"), "there is no device"),
        (("--epochs", "3"), "--epochs"),
    ],
)
def test_bad_options(refused, photos, tmp_path, arguments, words):
    assert words in refused("train", photos, *arguments, "--run", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_missing_arguments(refused, photos):
    assert "--data requires an argument" in refused("train")
    assert "--run requires an argument" in refused("train", photos)


def change(run, **entries):
    path = run / run_file.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_damaged_plan(refused, photos, run):
    path = run / run_file.NAME
    whole = path.read_text()
    for text in ("", "{", whole[: len(whole) // 2], "[]", "{}", "null", '"text"', "\0"):
        path.write_text(text)
        assert "run.json is damaged" in refused("train", photos, "--run", run)


@pytest.mark.parametrize(
    "entries",
    [
        {"train": {"images": 96, "epochs": 3}},
        {"train": {"images": -1}},
        {"train": {"images": "many"}},
        {"train": 5},
        {"sampling": {"colour": "red"}},
        {"sampling": []},
        {"prompts": 7},
        {"prompts": [7]},
        {"data": None},
        {"model": {}},
        {"model": {"kind": "gan"}},
        {"model": {"kind": "diffusion", "config": {}, "tokenizer": "{}"}},
        {"model": 3},
        {"notes": "none"},
    ],
    ids=json.dumps,
)
def test_changed_plan(refused, photos, run, entries):
    change(run, **entries)
    refused("train", photos, "--run", run)


def test_another_configuration_than_the_checkpoint(refused, photos, run):
    plan = json.loads((run / run_file.NAME).read_text())
    change(run, train=plan["train"] | {"batch_size": 4})
    assert "begun with another configuration" in refused("train", photos, "--run", run)


def test_damaged_checkpoint(refused, photos, run):
    path = run / checkpoint.NAME
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[:2_000], whole[:-1], b"\xff" * len(whole)):
        path.write_bytes(content)
        assert "checkpoint.safetensors cannot be read" in refused("train", photos, "--run", run)


def test_checkpoint_of_another_model(refused, photos, run):
    """Whole in itself, but without the weights that this run has, or with others of their names."""
    found = checkpoint.load_checkpoint(run)
    name = next(iter(found.group("model")))
    for tensors in (
        {path: value for path, value in found.tensors.items() if path != f"model/{name}"},
        found.tensors | {f"model/{name}": found.tensors[f"model/{name}"].new_zeros(3, 3, 3)},
    ):
        checkpoint.save_checkpoint(run, checkpoint.Checkpoint(tensors, found.facts))
        assert "checkpoint" in refused("train", photos, "--run", run)
    checkpoint.save_checkpoint(run, checkpoint.Checkpoint(found.tensors, {}))
    assert "checkpoint" in refused("train", photos, "--run", run)


def test_damaged_pictures(refused, photos, run):
    path = run / run_folder.PICTURES / "pixels.npy"
    path.write_bytes(path.read_bytes()[:500])
    assert "pictures" in refused("train", photos, "--run", run)


# Durations


@given(st.integers(1, 10_000), st.sampled_from("smh"))
def test_parse_duration(number, unit):
    seconds = number * {"s": 1, "m": 60, "h": 3600}[unit]
    assert parse_duration(f"{number}{unit}") == seconds
    assert parse_duration(f"{number / 4}{unit}") == seconds / 4
    with pytest.raises(UserError, match="write 90s, 30m or 2h"):
        parse_duration(str(number))


@given(st.text() | st.from_regex(r"[-+]?[0-9.e_]{0,5} ?[smhd]?", fullmatch=True))
def test_parse_duration_of_anything(text):
    """A positive number, or one sentence with what was typed; no other exception."""
    try:
        seconds = parse_duration(text)
    except UserError as error:
        told = str(error)
    else:
        told = repr(text)
        assert 0 < seconds < float("inf")
    assert repr(text) in told


@given(st.floats(0, 10**7))
def test_durations_are_said_within_a_percent_or_two(seconds):
    """What `duration` says, read back, is what it was given."""
    read = {"s": 1, "min": 60, "h": 3600}
    words = duration(seconds).split()
    back = sum(int(number) * read[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert back == pytest.approx(seconds, rel=0.02, abs=0.51)


def test_expectation_grows_with_the_passes():
    said = [expectation(passes, 200) for passes in (1, 60, 500)]
    assert len({text.partition(": ")[2] for text in said}) == 3
    assert "longer --budget" in said[0]


@given(st.floats(-10, 10**6), st.floats(0.001, 1000))
def test_evaluations_take_a_tenth_of_the_time(seconds, evaluation):
    count = auto_recipe.evaluations(seconds, evaluation)
    assert 1 <= count <= 10
    assert (count - 1) * evaluation <= 0.1 * max(seconds, 0)
    assert count == 10 or count * evaluation > 0.1 * max(seconds, 0) - 1e-9


# check


def test_check(call, photos):
    code, told, _ = call("check", photos)
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == f"{photos} (folder): 40 of 41 captioned pictures can be used."
    assert "mute: it has no caption; write one to mute.txt" in lines
    assert any(line.startswith("broken: the picture cannot be decoded") for line in lines)


def test_check_of_built_in_pictures_and_of_nothing(call, refused, tmp_path):
    code, _, said = call("check", "digits")
    assert (code, said) == (0, "digits: a built-in set of 1438 pictures, nothing to check\n")
    assert "no folder or .tar file" in refused("check", tmp_path / "missing")
    assert "--data requires an argument" in refused("check")


# --budget


@pytest.mark.slow
def test_a_budget_of_a_minute_takes_a_minute(call, draw, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real sizes
    (tmp_path / "photos").mkdir()
    draw(tmp_path / "photos", 200)
    began = time.monotonic()
    code, _, said = call("train", tmp_path / "photos", "--budget", "60s", "--run", tmp_path / "r")
    took = time.monotonic() - began
    assert code == 0
    assert 55 <= took <= 65, said
