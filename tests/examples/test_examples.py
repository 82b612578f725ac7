"""The example programs run: on a model of random weights, which is small, or on the default ones."""

import importlib.util
from pathlib import Path

import pytest
import torch

from unstir.image.png import load_pixels
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, save_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example():
    """A function: the name of an example -> its module."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file: random weights, pictures of 8×8 pixels with transparency, a layout predictor."""
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    network = DiTConfig(8, 4, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(tokenizer), length=48, width=32, depth=1, heads=2)
    made = Diffusion(DiffusionConfig(network, text, layout=LayoutConfig(16, 1, 2)), tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_model(path, made, settings=DiffusionSettings(steps=2))
    return path


def test_the_sheet_of_the_readme(example, model, tmp_path):
    example("icons_sheet").main(tmp_path / "sheet.png", model)
    assert load_pixels(tmp_path / "sheet.png").shape[1] > 12 * 96


def test_spatial_relations(example, model, tmp_path):
    relations = example("spatial_relations")
    relations.main(tmp_path / "sheet.png", model)
    page = load_pixels(tmp_path / "sheet.png")
    assert page.shape[1] > relations.COLUMNS * 16
    assert page.std() > 0


def test_digits(example, model, tmp_path):
    example("digits_pictures").main(model, tmp_path)
    for name in ("digits.png", "digits-trace.png"):
        assert load_pixels(tmp_path / name).shape[1] > 16 * 8 * 4


@pytest.mark.slow
@pytest.mark.skipif(not (DEFAULT.exists() and DEFAULT_CLIP.exists()), reason="no default models in this checkout")
def test_clip_guidance(example, tmp_path, monkeypatch, capsys):
    guidance = example("clip_guidance")
    monkeypatch.setattr(guidance, "STEPS", 2)
    guidance.main(tmp_path / "sheet.png")
    assert capsys.readouterr().out.count("CLIP score") == 4
    assert load_pixels(tmp_path / "sheet.png").shape[1] > 12 * 64


def test_the_score_field(example, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    example("score_field").main(tmp_path, training=2)
    for name in ("score_field.png", "score_paths.png", "score_corrector.png"):
        assert load_pixels(tmp_path / name).std() > 10
    assert "log-likelihood by the ODE: off by 0.00" in capsys.readouterr().out


def test_pictures_to_train_on(example, tmp_path):
    made = example("make_pictures")
    made.main(tmp_path, count=64)
    assert len(list(tmp_path.glob("*.png"))) == 64
    assert len(list(tmp_path.glob("*.txt"))) == 63
    assert load_pixels(tmp_path / "000.png").shape == (64, 64, 4)
    assert {path.read_text().split()[2] for path in tmp_path.glob("*.txt")} == {draw.__name__ for draw in made.THINGS}
