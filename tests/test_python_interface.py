"""The Python interface: load, draw, steps, Picture, train, evaluate and load_clip."""

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unstir
from unstir.cli import main
from unstir.errors import UserError
from unstir.image.png import load_pixels, read_request
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.models.pixels import to_model
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe
from unstir.weights.model_file import DEFAULT_CLIP, FewSteps, save_model

ROOT = Path(__file__).parent.parent
WORDS = ["red", "apple", "blue", "fish"]


@pytest.fixture(autouse=True, scope="module")
def single_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model file of random weights, with few-step weights: pictures of 8×8 pixels with transparency."""
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    network = DiTConfig(8, 4, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(tokenizer), length=16, width=32, depth=1, heads=2)
    model = Diffusion(DiffusionConfig(network, text), tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    name, weight = next((n, p) for n, p in model.network.named_parameters() if n.endswith("weight") and p.ndim == 2)
    pair = torch.full((2, weight.shape[1]), 0.1), torch.full((weight.shape[0], 2), 0.1)
    few = FewSteps(2, DiffusionSettings(steps=2, guidance_scale=1.0, sampler="blend"), {name: pair})
    where = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_model(where, model, settings=DiffusionSettings(steps=4), notes={"name": "tiny", "words": WORDS}, few=few)
    return where


@pytest.fixture(scope="module")
def model(path):
    return unstir.load(path, device="cpu")


def generated(path, out, *options):
    """The picture that `unstir generate` draws of "red apple" with seed 5."""
    arguments = ["generate", "red apple", "--seed", "5", "--device", "cpu", "--model", str(path), "--out", str(out)]
    assert main([*arguments, *options]) == 0
    return load_pixels(out / "red-apple-5.png")


def test_importing_it_imports_neither_torch_nor_numpy():
    heavy = ("torch", "numpy", "PIL", "unstir.train", "unstir.evaluate", "unstir.models")
    code = f"import sys, unstir; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_train_and_evaluate_are_packages_that_can_be_called():
    import unstir.train.config

    assert callable(unstir.train)
    assert callable(unstir.evaluate)
    assert unstir.train.config.TrainConfig is TrainConfig
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        unstir.nothing  # noqa: B018


def test_a_picture_is_the_one_that_the_command_line_draws(model, path, tmp_path):
    by_command = generated(path, tmp_path)
    (alone,) = model.draw("red apple", seed=5)
    among_others = model.draw(["blue fish", "red apple"], n=3, seed=4)
    assert np.array_equal(np.array(alone), by_command)
    assert np.array_equal(np.array(among_others[4]), by_command)
    assert [picture.seed for picture in among_others] == [4, 5, 6, 4, 5, 6]
    assert alone.request.values() == read_request(tmp_path / "red-apple-5.png")


def test_batches_give_n_pictures_that_are_nearly_the_same(model):
    together = model.draw("red apple", n=18, seed=1, batch=True)
    alone = model.draw("red apple", n=18, seed=1)
    assert len(together) == 18
    apart = [np.abs(np.array(a).astype(int) - np.array(b)).mean() for a, b in zip(together, alone, strict=True)]
    assert max(apart) < 3
    assert len({picture.tobytes() for picture in together}) == 18


def test_few_steps_take_the_few_step_weights(model, path, tmp_path):
    (picture,) = model.draw("red apple", seed=5, steps=2)
    assert picture.request.settings.sampler == "blend"
    assert picture.request.settings.guidance_scale == 1
    assert np.array_equal(np.array(picture), generated(path, tmp_path, "--steps", "2"))
    (plain,) = model.draw("red apple", seed=5, steps=3)
    assert plain.request.settings.sampler == "dpmpp_2m"


def test_a_picture_is_an_image_that_shows_itself(model):
    (picture,) = model.draw("red apple", seed=5)
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGBA", (8, 8))
    shown = Image.open(io.BytesIO(picture._repr_png_()))
    assert shown.tobytes() == picture.tobytes()
    assert picture.resize((16, 16)).size == (16, 16)
    before = picture.copy()
    picture.putpixel((0, 0), (1, 2, 3, 4))
    assert picture.getpixel((0, 0)) == (1, 2, 3, 4)
    assert picture.request.seed == 5
    assert before.tobytes() != picture.tobytes()


def test_a_saved_picture_can_be_reproduced(model, path, tmp_path, capsys):
    (picture,) = model.draw("red apple", seed=5, steps=3, guidance_scale=2.0)
    picture.save(tmp_path / "apple.png")
    assert main(["reproduce", str(tmp_path / "apple.png"), "--model", str(path), "--device", "cpu"]) == 0
    assert "every pixel is the same" in capsys.readouterr().err
    picture.convert("RGB").save(tmp_path / "apple.jpg")
    picture.save(tmp_path / "apple.webp")
    with Image.open(tmp_path / "apple.webp") as kept:
        assert kept.size == (8, 8)


def test_every_step_can_be_seen(model):
    frames = list(model.steps("red apple", seed=5))
    assert [(frame.i, frame.total) for frame in frames] == [(i, 4) for i in range(4)]
    assert frames[0].state.shape == frames[0].picture.shape == (1, 8, 8, 4)
    assert np.array_equal(frames[-1].picture[0], np.array(model.draw("red apple", seed=5)[0]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "^steps must be 1 to 10000, got 0"),
        ({"guidance_scale": float("nan")}, "^guidance_scale must be a finite number"),
        ({"sampler": "magic"}, "^sampler must be one of blend, "),
        ({"guidance": 3.0}, "has no setting guidance; it has: steps, "),
        ({"size": 1000}, "up to 128 pixels"),
        ({"n": 0}, "^n must be 1 or more"),
        ({"seed": -1}, "seed must be 0 to"),
    ],
)
def test_a_bad_setting_is_one_sentence_that_names_it(model, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        model.draw("red apple", **settings)


def test_a_prompt_of_60_000_letters_is_refused_at_once(model):
    began = time.monotonic()
    with pytest.raises(UserError, match="60,000 characters; shorten it"):
        model.draw("a" * 60_000)
    with pytest.raises(UserError, match="negative prompt has 60,000 characters"):
        model.draw("red apple", negative="a" * 60_000)
    assert time.monotonic() - began < 5


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no model"):
        unstir.load(tmp_path / "nothing.safetensors")
    with pytest.raises(UserError, match="there is no device 'tpu'"):
        unstir.load(device="tpu")


def test_training_resumes_and_gives_a_model_and_a_report(tmp_path):
    network = DiTConfig(8, 3, patch=4, width=32, depth=1, heads=2, bottleneck=8, words=32)
    recipe = Recipe(
        model=DiffusionConfig(network, TextConfig(300, 16, width=32, depth=1, heads=2)),
        train=TrainConfig(images=320, batch_size=16, log_every=32, sample_every=320, save_every=160),
        prompts=("a handwritten three",),
        settings=DiffusionSettings(steps=2),
    )
    seen = []
    run, whole = tmp_path / "run", tmp_path / "whole"
    model = unstir.train("digits", run, recipe=recipe, report=seen.append, stop=lambda: len(seen) >= 3)
    assert seen[-1].event == "stopped"
    assert seen[-1].images_seen == 96
    assert model.draw("a handwritten three", seed=1)[0].size == (8, 8)
    resumed = []
    unstir.train("digits", run, report=resumed.append)
    assert resumed[0].images_seen == 128
    assert (resumed[-1].event, resumed[-1].images_seen) == ("done", 320)
    unstir.train("digits", whole, recipe=recipe)
    pictures = [unstir.load(folder).draw("a handwritten three", seed=1)[0] for folder in (run, whole)]
    assert pictures[0].tobytes() == pictures[1].tobytes()

    report = unstir.evaluate(run, "digits", n=2, features="raw", likelihood=False, out=tmp_path / "report", steps=1)
    assert report["settings"]["steps"] == 1
    assert isinstance(report["tables"], list)
    assert (tmp_path / "report" / "report.html").exists()


def test_training_refuses_in_a_sentence(tmp_path):
    for options, sentence in [
        ({"budget": "5"}, "5"),
        ({"budget": -1}, "budget must be a number of seconds above 0"),
        ({"kind": "magic"}, "there is no kind of model 'magic'"),
        ({"recipe": "magic"}, "there is no recipe 'magic'"),
    ]:
        with pytest.raises(UserError, match=sentence):
            unstir.train("digits", tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not DEFAULT_CLIP.exists(), reason="no default CLIP in this checkout")
def test_a_clip_compares_pictures_and_words():
    clip = unstir.load_clip(device="cpu")
    images = [Image.new("RGBA", (40, 30), colour) for colour in ("red", (0, 0, 255, 128))]
    cosines = clip.similarity([*images, Image.new("L", (5, 5), 128)], ["red", "blue"])
    assert cosines.shape == (3, 2)
    assert cosines.dtype == np.float32
    assert np.abs(cosines).max() <= 1.0001
    pixels = torch.from_numpy(np.stack([clip.pixels(image) for image in images]))
    expected = clip.model.similarity(["red", "blue"], to_model(pixels)).T
    assert cosines[:2] == pytest.approx(expected.numpy(), abs=1e-5)
    assert len(set(cosines[:, 0].round(3).tolist())) == 3
    with pytest.raises(UserError, match="token"):
        clip.similarity(images, ["word " * 500])
    with pytest.raises(UserError, match="no model"):
        unstir.load_clip("nothing.safetensors")
