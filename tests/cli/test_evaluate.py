"""`unstir evaluate`: what it writes, that it goes on where it was stopped, and how it refuses."""

import json
import time

import numpy as np
import pytest

from unstir import evaluation
from unstir.cli import progress
from unstir.cli.progress import stage
from unstir.evaluate.metrics import likelihood
from unstir.evaluate.run import generation
from unstir.models.clip import Clip, ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import load_model, save_model

FAST = ("--steps", 2, "--no-likelihood")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    tokenizer = Tokenizer.train(["a red disc", "a blue box"], 300)
    vision = VisionConfig(size=16, channels=4, patch=8, width=32, depth=1, heads=2, mlp=32)
    text = ClipTextConfig(vocabulary=len(tokenizer), length=24, width=32, depth=1, heads=2, mlp=32)
    model = Clip(ClipConfig(vision, text, width=16), tokenizer)
    initialise(model, 0)
    path = tmp_path_factory.mktemp("clip") / "judge.safetensors"
    save_model(path, model)
    return path


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text("".join(f"p{i:03}\n" for i in range(0, 40, 3)))
    return path


def test_what_is_written(call, model, photos, clip, keys, tmp_path):
    out = tmp_path / "report"
    code, told, said = call(
        *("evaluate", model, photos, "--clip", clip, "--held-out", keys, "--out", out, "-n", 16, "--seed", 5, *FAST)
    )
    assert code == 0, said
    assert told.splitlines()[0] == "tiny on photos"
    assert "Prompt alignment, held-out prompts" in told
    assert said.splitlines()[-1] == f"written: {out / 'report.html'}"
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["pictures"] == {"seen": 26, "held out": 14, "not usable": 2}
    assert report["settings"]["prompts"] == {"seen": 8, "held-out": 5}
    assert report["settings"]["seed"] == 5
    assert report["settings"]["steps"] == 2
    assert report["settings"]["threshold"] == 0.995
    assert report["settings"]["model"].startswith("tiny ")
    assert report["settings"]["CLIP"].startswith("judge ")
    assert len(list((out / "pictures").rglob("*.png"))) == 13
    code, again, _ = call(
        *("evaluate", model, photos, "--clip", clip, "--held-out", keys, "--out", out, "-n", 16, "--seed", 5, *FAST),
        "--json",
    )
    assert code == 0
    assert json.loads(again) == report


def test_the_likelihood_by_the_ode(call, model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(likelihood, "COUNT", 3)
    arguments = ("evaluate", model, photos, "--features", "raw", "-n", 6, "--steps", 2, "--out", tmp_path / "report")
    code, _, said = call(*arguments, "--ode-likelihood", 1)
    assert code == 2
    assert "--ode-likelihood takes 2 pictures or more, and is measured beside the bound" in said
    code, told, _ = call(*arguments, "--ode-likelihood", 2)
    assert code == 0
    assert "seen, by the ODE" in told
    assert "seen, the same by the bound" in told


def test_stopped_and_continued(call, model, photos, tmp_path, monkeypatch):
    arguments = ("evaluate", model, photos, "--features", "raw", "-n", 20, *FAST)
    monkeypatch.setattr(generation.draw_pictures, "__defaults__", (None, None, generation.no_progress, 4))
    code, whole, _ = call(*arguments, "--out", tmp_path / "whole")
    assert code == 0
    make, calls = generation.batch_drawer, []

    def stopping(loaded, sampling):
        draw = make(loaded, sampling)

        def once(prompts, seeds):
            calls.append(seeds)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return draw(prompts, seeds)

        return once

    monkeypatch.setattr(evaluation, "batch_drawer", stopping)
    code, _, said = call(*arguments, "--out", tmp_path / "parts")
    assert code == 130
    assert "the same command resumes" in said
    code, told, _ = call(*arguments, "--out", tmp_path / "parts")
    assert (code, told) == (0, whole)
    assert len(calls) == 3 + 2


def test_the_notes_say_what_was_held_out(call, model, photos, tmp_path):
    loaded = load_model(model)
    path = tmp_path / "noted.safetensors"
    save_model(path, loaded.model, settings=loaded.settings, notes={"held_out": ["p003", "p004", "nobody"]})
    code, told, said = call("evaluate", path, photos, "--features", "raw", "-n", 6, "--out", tmp_path / "o", *FAST)
    assert code == 0
    assert told.splitlines()[0] == "noted on photos"
    assert "1 entries of the held-out list match no picture, such as nobody" in said
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["settings"]["pictures"]["held out"] == 2


def test_nothing_held_out_is_said(call, model, photos, tmp_path):
    code, told, said = call("evaluate", model, photos, "--features", "raw", "-n", 6, "--out", tmp_path / "o", *FAST)
    assert code == 0
    assert "nothing is known to be held out" in said
    assert "Nothing is known to be held out" in told


def test_the_clip_that_ships_is_the_judge(call, model, photos, keys, tmp_path):
    code, told, _ = call("evaluate", model, photos, "--held-out", keys, "-n", 8, "--out", tmp_path / "o", *FAST)
    assert code == 0
    assert "Prompt alignment, held-out prompts" in told
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["settings"]["CLIP"].startswith("icons_clip ")


def test_likelihood(call, model, photos, tmp_path, monkeypatch):
    from unstir.evaluate.metrics import likelihood

    monkeypatch.setattr(likelihood, "COUNT", 2)
    code, told, _ = call(
        "evaluate", model, photos, "--features", "raw", "-n", 4, "--out", tmp_path, "--steps", 1, "--seed", 1
    )
    assert code == 0
    assert "Likelihood, bits per dimension" in told


def test_pictures_are_read_once(call, model, photos, tmp_path, monkeypatch):
    from unstir.evaluate.run import real_pictures

    arguments = ("evaluate", model, photos, "--features", "raw", "-n", 4, "--cache", tmp_path / "c", *FAST)
    arguments = (*arguments, "--out", tmp_path)
    assert call(*arguments)[0] == 0

    def never(*_, **__):
        raise AssertionError("the pictures were there")

    with monkeypatch.context() as patch:
        patch.setattr(real_pictures, "pack", never)
        assert call(*arguments)[0] == 0
        assert json.loads((tmp_path / "report.json").read_text())["settings"]["pictures"]["not usable"] == 2
        caption = (photos / "p000.txt").read_text()
        (photos / "p000.txt").write_text("another caption")
        try:
            with pytest.raises(AssertionError):
                call(*arguments)
        finally:
            (photos / "p000.txt").write_text(caption)


def test_a_damaged_cache_is_made_again(call, model, photos, tmp_path):
    """As one of another version is, whose layout was another."""
    arguments = ("evaluate", model, photos, "--features", "raw", "-n", 4, "--out", tmp_path, *FAST)
    assert call(*arguments)[0] == 0
    report = (tmp_path / "report.json").read_bytes()
    [listing] = tmp_path.glob("real/*/pictures.jsonl")
    for content in ("", '{"another": "layout"}\n', "nonsense"):
        listing.write_text(content)
        for picture in tmp_path.glob("pictures/*/*.png"):
            picture.write_bytes(picture.read_bytes()[:100])
        code, _, said = call(*arguments)
        assert code == 0, said
        assert (tmp_path / "report.json").read_bytes() == report


# Refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-n", 1), "-n must be 2 or more"),
        (("--seed", -1), "--seed must be"),
        (("--steps", 0), "--steps must be 1 to 10000"),
        (("--guidance", "nan"), "--guidance must be a finite number"),
        (("--sampler", "magic"), "--sampler must be one of"),
        (("--steps", 20_000), "steps must be 1 to"),
        (("--device", "tpu"), "there is no device"),
        (("--features", "inception"), "features"),
        (("--clip", "nowhere.safetensors"), "there is no model nowhere.safetensors"),
        (("--held-out", "nowhere.txt"), "there is no list nowhere.txt"),
    ],
)
def test_options_that_make_no_sense(refused, model, photos, tmp_path, options, sentence):
    assert sentence in refused("evaluate", model, photos, "--out", tmp_path / "o", *options)
    assert not (tmp_path / "o").exists()


def test_other_refusals(refused, model, photos, clip, tmp_path):
    raw = ("--features", "raw", "--out", tmp_path / "o")
    assert "there is no model" in refused("evaluate", tmp_path / "none", photos, *raw)
    assert "no folder or .tar" in refused("evaluate", model, tmp_path / "none", *raw)
    assert "has no transparency" in refused("evaluate", model, "digits", *raw)
    assert "leave out --held-out" in refused("evaluate", model, "shapes", *raw, "--held-out", tmp_path / "keys.txt")
    assert "is a CLIP, which does not draw" in refused("evaluate", clip, photos, *raw)
    assert "is a diffusion model, and a CLIP is needed" in refused(
        "evaluate", model, photos, "--clip", model, "--out", tmp_path / "o"
    )
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("evaluate", model, photos, "--out", tmp_path / "file")
    assert "is a file" in refused("evaluate", model, photos, *raw, "--cache", tmp_path / "file")
    (tmp_path / "keys.txt").write_text("another set\n")
    assert "none of the 4" in refused("evaluate", model, photos, *raw, "--held-out", tmp_path / "keys.txt")


def test_one_picture_is_too_few(refused, model, photos, tmp_path):
    (tmp_path / "one").mkdir()
    for name in ("p000.png", "p000.txt"):
        (tmp_path / "one" / name).write_bytes((photos / name).read_bytes())
    sentence = refused("evaluate", model, tmp_path / "one", "--features", "raw", "--out", tmp_path / "o")
    assert "two or more captioned pictures" in sentence


# Progress


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET", 0.01)
    with stage("drawing", 100) as told:
        for done in (10, 20):
            time.sleep(0.02)
            told(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("drawing: 10 of 100, ")
    assert lines[0].endswith(" left")


def test_the_default_folder_is_named_after_the_model(call, model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model.safetensors").write_bytes(model.read_bytes())
    for given, name in (("runs/mine", "mine"), ("runs/mine/model.safetensors", "mine"), (model, "tiny")):
        assert call("evaluate", given, photos, "--features", "raw", "-n", 2, *FAST)[0] == 0
        assert (tmp_path / "evaluation" / name / "report.html").exists()
    assert np.all([path.name != "model" for path in (tmp_path / "evaluation").iterdir()])
