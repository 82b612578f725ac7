"""Models and pictures small enough for the command line in a test."""

import pytest
import torch
from PIL import Image, ImageDraw

from unstir.cli import main
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import save_model

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (220, 220, 30)}


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(path, seed, name):
    """A model file of random weights, none of them zero; pictures of 8×8 pixels with transparency."""
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    network = DiTConfig(8, 4, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(tokenizer), length=16, width=32, depth=1, heads=2)
    model = Diffusion(DiffusionConfig(network, text), tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    save_model(path, model, settings=DiffusionSettings(steps=4, threshold=0.995), notes={"name": name})
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("models") / "tiny.safetensors", 0, "tiny")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("models") / "other.safetensors", 1, "other")


@pytest.fixture
def call(capsys):
    """A function (arguments …) -> (exit code, standard output, standard error) of `unstir arguments …`."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(call):
    """A function (arguments …) -> the one sentence in which `unstir arguments …` refuses; asserts that it does."""

    def run(*arguments):
        code, _, errors = call(*arguments)
        assert code == 2, errors
        *before, sentence = errors.splitlines()
        assert sentence.startswith("unstir: ")
        assert len(sentence) > len("unstir: ") + 10
        assert "Traceback" not in errors
        assert not any(line.startswith("unstir:") for line in before)
        return sentence

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Forty captioned pictures, one broken file and one picture without a caption."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    draw_photos(folder, 40)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (folder / "broken.txt").write_text("a broken picture")
    Image.new("RGB", (32, 32)).save(folder / "mute.png")
    return folder


@pytest.fixture(scope="session")
def draw():
    """A function that draws captioned photographs: (folder, count)."""
    return draw_photos


def draw_photos(folder, count):
    for i in range(count):
        colour = list(COLOURS)[i % 4]
        shape = ("disc", "box")[i // 4 % 2]
        image = Image.new("RGB", (32, 32), (i % 256,) * 3)
        pen = ImageDraw.Draw(image)
        (pen.ellipse if shape == "disc" else pen.rectangle)((6, 6, 26, 26), fill=COLOURS[colour])
        image.save(folder / f"p{i:03}.png")
        (folder / f"p{i:03}.txt").write_text(f"a {colour} {shape}")
