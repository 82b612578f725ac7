"""The Python interface: the same pictures as the command line, and errors in one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unstir
from unstir.cli import main
from unstir.errors import UserError

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "v0_1"


@pytest.fixture(scope="module")
def model():
    return unstir.load(FIXTURES / "diffusion-finished.safetensors")


def test_importing_costs_nothing():
    code = "import unstir, sys; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_pictures_are_those_of_the_command(model, tmp_path):
    pictures = model.draw("a handwritten three", n=2, seed=5)
    arguments = ["--model", str(model.path), "--seed", "5", "-n", "2", "--out", str(tmp_path)]
    assert main(["generate", "a handwritten three", *arguments]) == 0
    for picture in pictures:
        assert isinstance(picture, Image.Image)
        drawn = Image.open(tmp_path / f"a-handwritten-three-{picture.seed}.png")
        assert (np.array(drawn) == np.array(picture)).all()


def test_a_picture_knows_its_request(model, tmp_path, capsys):
    (picture,) = model.draw("a handwritten one", seed=3, guidance_scale=2.5)
    assert picture.request.settings.guidance_scale == 2.5
    assert picture._repr_png_().startswith(b"\x89PNG")
    picture.save(tmp_path / "one.png")
    assert main(["reproduce", str(tmp_path / "one.png"), "--model", str(model.path)]) == 0
    assert "every pixel is the same" in capsys.readouterr().err
    picture.save(tmp_path / "one.webp", lossless=True)
    assert (np.array(Image.open(tmp_path / "one.webp").convert("RGB")) == np.array(picture)).all()


def test_batches_hold_as_many_of_each_prompt(model):
    pictures = model.draw(["a handwritten one", "a handwritten two"], n=9, seed=1, batch=True)
    assert [picture.seed for picture in pictures] == [*range(1, 10)] * 2
    assert pictures[9].request.prompt == "a handwritten two"
    alone = model.draw("a handwritten two", seed=1)[0]
    assert np.abs(np.array(pictures[9]).astype(int) - np.array(alone)).mean() < 3


def test_few_steps_take_the_few_step_weights():
    model = unstir.load(FIXTURES / "few.safetensors")
    few, more = model.draw("a handwritten three", seed=7, steps=2)[0], model.draw("a handwritten three", seed=7)[0]
    assert few.request.settings.sampler == "ddim"
    assert more.request.settings.sampler == "dpmpp_2m"
    kept = Image.open(FIXTURES / "few" / "a-handwritten-three-7.png")
    assert np.abs(np.array(kept).astype(int) - np.array(few)).mean() < 3  # other processors round otherwise


def test_every_step(model):
    frames = list(model.steps("a handwritten one", seed=1, steps=3))
    assert [(frame.i, frame.total) for frame in frames] == [(0, 3), (1, 3), (2, 3)]
    assert frames[0].t == 1
    assert frames[0].state.shape == frames[0].picture.shape == (1, 8, 8, 3)
    (same,) = model.draw("a handwritten one", seed=1, steps=3)
    assert (frames[-1].picture[0] == np.array(same)).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"magic": 1}, "has no setting magic; it has: steps, sampler"),
        ({"steps": 0}, "--steps must be 1 to 10000, got 0"),
        ({"sampler": "magic"}, "--sampler must be one of"),
        ({"n": 0}, "n must be 1 or more"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"size": 10_000}, "draws up to 128 pixels"),
        ({"eta": 0.5}, "belongs to the sampler ddim"),
        ({"negative": "two", "guidance_scale": 1}, "works through guidance"),
    ],
)
def test_what_cannot_be_is_one_sentence(model, options, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        model.draw("a handwritten one", **options)


def test_a_prompt_of_60000_letters_is_refused(model):
    with pytest.raises(UserError, match="60,000 characters"):
        model.draw("a" * 60_000)


def test_there_is_no_such_model(tmp_path):
    with pytest.raises(UserError, match="there is no model"):
        unstir.load(tmp_path / "nothing.safetensors")


def test_a_clip_compares():
    clip = unstir.load_clip(FIXTURES / "clip-finished.safetensors")
    assert clip.model.embed_words(["a handwritten one"]).shape == (1, 16)


def test_the_page_runs(tmp_path):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "apple.png").exists()
    assert (tmp_path / "three.png").exists()
    assert len(done.stdout.splitlines()) == 4


def test_a_run_is_continued(tmp_path):
    seen = []

    def stop():
        return len(seen) > 2

    run = tmp_path / "run"
    options = {"budget": "20s", "report": seen.append}
    unstir.train("digits", run, stop=stop, **options)
    first = seen[-1].images_seen
    model = unstir.train("digits", run, stop=lambda: len(seen) > 4, **options)
    assert seen[-1].images_seen > first
    assert model.shape == (3, 8, 8) or model.shape[1] >= 8
    assert callable(unstir.train)
    assert unstir.train.loop.Progress
