"""`unstir generate` and `unstir reproduce`: what they write, what they never overwrite, and how they refuse."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from unstir import __version__
from unstir.errors import UserError
from unstir.image.png import load_pixels, read_request, save_png
from unstir.request import checked_device

APPLE = ("generate", "red apple")


@pytest.fixture
def apple(call, model, tmp_path):
    """The path of a picture of a red apple, seed 5."""
    code, told, _ = call(*APPLE, "--seed", 5, "--model", model, "--out", tmp_path / "apple")
    assert code == 0
    path = tmp_path / "apple" / "red-apple-5.png"
    assert told == f"{path}\n"
    return path


# Pictures


def test_one_picture(apple):
    assert [path.name for path in apple.parent.iterdir()] == ["red-apple-5.png"]  # no sheet of one
    pixels = load_pixels(apple)
    assert pixels.shape == (8, 8, 4)
    assert pixels.std() > 10


def test_the_file_says_every_setting(call, model, tmp_path):
    call(
        *("generate", "Red Apple,  fluent", "--seed", 9, "--steps", 3, "--guidance", 2.5, "--sampler", "ddpm"),
        *("--negative", "fish", "--size", 12, "--model", model, "--out", tmp_path),
    )
    request = read_request(tmp_path / "red-apple-fluent-9.png")
    fingerprint = request.pop("model_hash")
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0
    assert request.pop("device") in ("cpu", "cuda")
    assert request.pop("dtype") in ("bfloat16", "float32")
    assert request == {
        "prompt": "Red Apple,  fluent",
        "negative": "fish",
        "seed": 9,
        "size": 12,
        "steps": 3,
        "sampler": "ddpm",
        "guidance_scale": 2.5,
        "interval": [0.0, 1.0],
        "spacing": "uniform",
        "shift": 1.0,
        "threshold": 0.995,
        "eta": 0.0,
        "corrector_steps": 1,
        "corrector_snr": 0.16,
        "model": "tiny",
        "version": __version__,
    }
    assert load_pixels(tmp_path / "red-apple-fluent-9.png").shape == (12, 12, 4)


def test_several_pictures_and_their_sheet(call, model, tmp_path):
    code, told, _ = call(*APPLE, "-n", 3, "--seed", 7, "--model", model, "--out", tmp_path)
    names = ["red-apple-7.png", "red-apple-8.png", "red-apple-9.png", "sheet.png"]
    assert code == 0
    assert told.splitlines() == [str(tmp_path / name) for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [read_request(tmp_path / name)["seed"] for name in names[:3]] == [7, 8, 9]
    height, width, _ = load_pixels(tmp_path / "sheet.png").shape
    assert width > 3 * 96
    assert height > 96


def test_a_picture_does_not_depend_on_its_neighbours(call, model, tmp_path):
    call(*APPLE, "-n", 2, "--seed", 7, "--model", model, "--out", tmp_path / "two")
    call(*APPLE, "--seed", 8, "--model", model, "--out", tmp_path / "one")
    two, one = (tmp_path / folder / "red-apple-8.png" for folder in ("two", "one"))
    assert two.read_bytes() == one.read_bytes()
    assert (load_pixels(one) != load_pixels(tmp_path / "two" / "red-apple-7.png")).any()


@pytest.mark.parametrize(
    "options",
    [
        {"--steps": 3},
        {"--guidance": 1},
        {"--guidance-interval": (0.2, 0.6)},
        {"--sampler": "ddpm"},
        {"--sampler": "ddim", "--eta": 0.7},
        {"--spacing": "karras"},
        {"--shift": 2},
        {"--threshold": 0.7},
        {"--negative": "fish"},
        {"--seed": 6},
    ],
    ids=lambda options: " ".join(options),
)
def test_every_setting_does_something(call, model, tmp_path, apple, options):
    """Each that the table of settings has is an option."""
    changed = {"--seed": 5} | options
    words = [
        word for name, value in changed.items() for word in (name, *(value if isinstance(value, tuple) else (value,)))
    ]
    code, _, errors = call(*APPLE, *words, "--model", model, "--out", tmp_path)
    assert code == 0, errors
    assert (load_pixels(next(tmp_path.glob("*.png"))) != load_pixels(apple)).any()


def test_a_random_seed_is_in_the_file_name(call, model, tmp_path):
    for _ in range(2):
        assert call(*APPLE, "--model", model, "--out", tmp_path)[0] == 0
    seeds = [read_request(path)["seed"] for path in tmp_path.iterdir()]
    assert len(set(seeds)) == 2
    assert {f"red-apple-{seed}.png" for seed in seeds} == {path.name for path in tmp_path.iterdir()}


def test_the_folder_of_a_run_is_a_model(call, model, tmp_path, apple):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(model.read_bytes())
    call(*APPLE, "--seed", 5, "--model", tmp_path / "run", "--out", tmp_path)
    assert (tmp_path / "red-apple-5.png").read_bytes() == apple.read_bytes()


def test_another_size_is_drawn_and_noted(call, model, tmp_path):
    code, _, noted = call(*APPLE, "--seed", 5, "--size", 16, "--model", model, "--out", tmp_path)
    assert code == 0
    assert "trained at 8 pixels" in noted


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("", "picture-5.png"), ("../a/b", "a-b-5.png"), ("Äpfel", "äpfel-5.png"), ("a\nb", "a-b-5.png")],
)
def test_names(call, model, tmp_path, prompt, name):
    code, _, errors = call("generate", prompt, "--seed", 5, "--model", model, "--out", tmp_path)
    assert code == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_trace(call, model, tmp_path):
    _, told, _ = call(*APPLE, "--seed", 5, "--trace", "--model", model, "--out", tmp_path)
    names = ["red-apple-5.png", "red-apple-5-trace.png", "red-apple-5-trace.webp"]
    assert told.splitlines() == [str(tmp_path / name) for name in names]
    with Image.open(tmp_path / names[2]) as moving:
        assert moving.format == "WEBP"
        assert moving.n_frames >= 4  # a frame for each step at least
    height, width, _ = load_pixels(tmp_path / names[1]).shape
    assert max(height, width) >= 4 * 96


# Nothing is overwritten


def test_the_same_request_twice_is_the_same_file(call, model, tmp_path):
    ask = (*APPLE, "-n", 2, "--seed", 5, "--model", model, "--out", tmp_path)
    call(*ask)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    call(*ask)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_picture_of_another_request_stays(call, model, tmp_path, apple):
    before = apple.read_bytes()
    for number in (2, 3):
        _, told, _ = call(*APPLE, "--seed", 5, "--steps", number, "--model", model, "--out", apple.parent)
        assert told == f"{apple.with_name(f'red-apple-5-{number}.png')}\n"
    assert apple.read_bytes() == before


def test_pictures_of_others_stay(call, model, tmp_path):
    """A picture without a request, one that was painted over, a file that is no picture, and somebody's sheet.png."""
    Image.new("RGB", (3, 3)).save(tmp_path / "red-apple-5.png")
    (tmp_path / "red-apple-5-2.png").write_text("no picture")
    Image.new("RGB", (3, 3)).save(tmp_path / "sheet.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    _, told, _ = call(*APPLE, "-n", 2, "--seed", 5, "--model", model, "--out", tmp_path)
    assert all(path.read_bytes() == content for path, content in before.items())
    first = tmp_path / "red-apple-5-3.png"
    assert told.splitlines() == [str(first), str(tmp_path / "red-apple-6.png"), str(tmp_path / "sheet-2.png")]
    painted = load_pixels(first)
    painted[0, 0] ^= 255
    save_png(first, painted, read_request(first))
    call(*APPLE, "--seed", 5, "--model", model, "--out", tmp_path)
    assert (load_pixels(first) == painted).all()
    assert (tmp_path / "red-apple-5-4.png").exists()


def test_the_sheet_of_another_request_stays(call, model, tmp_path):
    call(*APPLE, "-n", 2, "--seed", 5, "--model", model, "--out", tmp_path)
    before = (tmp_path / "sheet.png").read_bytes()
    call("generate", "blue fish", "-n", 2, "--seed", 5, "--model", model, "--out", tmp_path)
    assert (tmp_path / "sheet.png").read_bytes() == before
    assert (tmp_path / "sheet-2.png").exists()


# reproduce


def test_reproduce(call, model, apple):
    code, told, said = call("reproduce", apple, "--model", model)
    again = apple.with_name("red-apple-5-again.png")
    assert (code, told, said) == (0, f"{again}\n", "every pixel is the same\n")
    assert again.read_bytes() == apple.read_bytes()


@pytest.mark.parametrize("sampler", ["ddpm", "heun", "sde", "blend"])
def test_reproduce_every_sampler(call, model, tmp_path, sampler):
    call(
        *("generate", "blue fish", "--seed", 3, "--sampler", sampler, "--size", 12, "--negative", "apple"),
        *("--guidance", 1.5, "--steps", 3, "--model", model, "--out", tmp_path),
    )
    code, _, said = call("reproduce", tmp_path / "blue-fish-3.png", "--model", model, "--out", tmp_path / "x.png")
    assert (code, said) == (0, "every pixel is the same\n")
    assert (load_pixels(tmp_path / "x.png") == load_pixels(tmp_path / "blue-fish-3.png")).all()


def test_reproduce_tells_of_another_model(refused, other_model, apple):
    sentence = refused("reproduce", apple, "--model", other_model)
    assert "made with the model tiny" in sentence
    assert str(other_model) in sentence
    assert not apple.with_name("red-apple-5-again.png").exists()


def test_reproduce_tells_of_a_changed_picture(refused, model, apple):
    pixels = load_pixels(apple)
    pixels[0, 0] ^= 255
    save_png(apple, pixels, read_request(apple))
    assert "1.6% of the pixels differ" in refused("reproduce", apple, "--model", model)


def test_reproduce_refuses_what_is_no_picture_of_ours(refused, model, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    (tmp_path / "text.png").write_text("no picture")
    assert "carries no unstir request" in refused("reproduce", tmp_path / "plain.png", "--model", model)
    assert "not a PNG" in refused("reproduce", tmp_path / "photo.jpg", "--model", model)
    assert "not a PNG" in refused("reproduce", tmp_path / "text.png", "--model", model)
    assert "no file" in refused("reproduce", tmp_path / "nowhere.png", "--model", model)


def test_reproduce_refuses_a_sheet(call, refused, model, tmp_path):
    call(*APPLE, "-n", 2, "--seed", 5, "--model", model, "--out", tmp_path)
    assert "does not say its" in refused("reproduce", tmp_path / "sheet.png", "--model", model)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": "x"},
        {"steps": 0},
        {"steps": None},
        {"seed": "x"},
        {"seed": [1]},
        {"size": -2},
        {"size": 10**9},
        {"prompt": 5},
        {"negative": []},
        {"guidance_scale": None},
        {"interval": 3},
        {"interval": [1]},
        {"spacing": "?"},
        {"shift": "a"},
        {"threshold": 7},
        {"sampler": ["ddim"]},
    ],
    ids=json.dumps,
)
def test_reproduce_refuses_a_request_that_makes_no_sense(refused, model, apple, change):
    """A picture from the internet may say anything."""
    save_png(apple, load_pixels(apple), read_request(apple) | change)
    refused("reproduce", apple, "--model", model)


def test_reproduce_into_a_folder(refused, model, apple):
    assert "is a folder" in refused("reproduce", apple, "--model", model, "--out", apple.parent)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sampler", "magic"), "--sampler must be one of blend, ddim, ddpm"),
        (("--steps", 0), "--steps must be 1 to 10000, got 0"),
        (("--steps", -3), "--steps must be 1 to 10000, got -3"),
        (("--steps", "many"), "--steps"),
        (("--size", 9), "multiple of 2"),
        (("--size", 0), "--size must be 1 or more"),
        (("--size", 10**8), "up to 128 pixels"),
        (("--guidance", "strong"), "--guidance"),
        (("--guidance", "nan"), "--guidance must be a finite number"),
        (("--guidance", "inf"), "--guidance must be a finite number"),
        (("--guidance", "-inf"), "--guidance must be a finite number"),
        (("--negative", "word " * 60), "shorten it"),
        (("--negative", "fish", "--guidance", 1), "--negative works through guidance"),
        (("--guidance-interval", 0.9, 0.1), "--guidance-interval must have its low end first"),
        (("--guidance-interval", 0.1, 2), "--guidance-interval must be 0 to 1"),
        (("--threshold", 0), "--threshold must be above 0 and at most 1, got 0"),
        (("--shift", -1), "--shift must be above 0, got -1"),
        (("--spacing", "odd"), "--spacing must be one of uniform"),
        (("--eta", 0.5), "--eta belongs to the sampler ddim"),
        (("--device", "toaster"), "there is no device 'toaster' here; there is: cpu"),
        (("--device", "cpu:x"), "there is no device"),
        (("--device", "cuda:99"), "there is no device"),
        (("--device", ""), "there is no device"),
        (("-n", 0), "-n must be 1 or more, got 0"),
        (("-n", -1), "-n must be 1 or more"),
        (("--seed", "x"), "--seed"),
        (("--colour", "red"), "--colour"),
    ],
    ids=lambda value: " ".join(str(word)[:12] for word in value) if isinstance(value, tuple) else None,
)
def test_bad_settings(refused, model, tmp_path, arguments, words):
    assert words in refused(*APPLE, *arguments, "--model", model, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_words(refused, model, tmp_path):
    assert "this model reads 16; shorten it" in refused("generate", "word " * 60, "--model", model, "--out", tmp_path)
    assert "UTF-8" in refused("generate", "caf\udce9", "--model", model, "--out", tmp_path)
    assert "--prompt requires an argument" in refused("generate")


def test_out_is_a_file(refused, model, tmp_path):
    (tmp_path / "file").write_text("of the user")
    assert "is a file; name a folder" in refused(*APPLE, "--model", model, "--out", tmp_path / "file")
    refused(*APPLE, "--model", model, "--out", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "of the user"


def test_bad_models(refused, model, tmp_path):
    def said(path):
        return refused(*APPLE, "--model", path, "--out", tmp_path / "out")

    missing, empty, cut, pickled, checkpoint, foreign = (
        tmp_path / name
        for name in ("no", "empty", "cut.safetensors", "p.safetensors", "t.safetensors", "f.safetensors")
    )
    empty.mkdir()
    cut.write_bytes(model.read_bytes()[:5_000])
    pickled.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    torch.save({"a": torch.ones(2)}, checkpoint)
    save_file({"a": torch.ones(2)}, foreign)
    assert "there is no model" in said(missing)
    assert "holds no model.safetensors" in said(empty)
    for path in (cut, pickled, checkpoint):
        assert f"{path} is not a readable safetensors file" in said(path)
        assert "pickled checkpoints (.pt, .ckpt) are refused" in said(path)
    assert "no unstir model" in said(foreign)


@pytest.mark.parametrize("kept", [0, 4, 8, 9, 0.5, 0.999])
def test_model_cut_off_anywhere(refused, model, tmp_path, kept):
    content = model.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert "is not a readable safetensors file" in refused(*APPLE, "--model", path, "--out", tmp_path)


def test_a_pickle_is_never_opened(refused, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(*APPLE, "--model", path, "--out", tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_no_such_command(refused):
    assert "genrate" in refused("genrate", "red apple")


def test_no_default_model(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("unstir.weights.model_file.DEFAULT", tmp_path / "none.safetensors")
    assert "--model" in refused(*APPLE, "--out", tmp_path)


def test_ctrl_c(call, model, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unstir.cli.generate.draw", interrupted)
    code, _, said = call(*APPLE, "--model", model, "--out", tmp_path)
    assert (code, said) == (130, "unstir: stopped\n")


def test_a_full_disk(refused, model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr("os.replace", fail)
    assert "No space left on device" in refused(*APPLE, "--seed", 5, "--model", model, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_devices():
    assert checked_device("cpu") == "cpu"
    assert checked_device("auto") in ("cpu", "cuda")
    with pytest.raises(UserError, match="there is no device"):
        checked_device("cpu:7")


def test_help(call):
    for arguments in (("--help",), ("generate", "--help"), ("train", "--help"), ("check", "--help"), ()):
        code, told, _ = call(*arguments)
        assert code == 0
        assert "Usage: unstir" in told
    assert call("--version")[1].strip() == __version__


def test_pixels_are_the_models_own(apple, model):
    """The file holds what the library draws for the same request."""
    from unstir.models.generative import final
    from unstir.weights.model_file import load_model

    loaded = load_model(model)
    assert np.array_equal(final(loaded.model.draw(["red apple"], [5], loaded.settings))[0], load_pixels(apple))
