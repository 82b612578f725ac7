"""Other people's CLIPs give here the vectors that they give there."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from toy_clips import MEAN, STD, write_huggingface, write_openclip
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from unstir.cli import main
from unstir.interop.clip import import_clip, load_any_clip
from unstir.weights.model_file import load_clip, save_model

NEAR = 1e-4
TEXTS = ["a red apple", "two dogs", "", "l'été 3d!!", "a picture of the café's 12 doors, " * 3]
LEGACY = {"activation": "gelu", "legacy": True}


@pytest.fixture(scope="module")
def x0():
    return torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1


def pixel_values(x0):
    """What the other libraries take: normalised by the mean and standard deviation of each channel."""
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    return ((x0 + 1) / 2 - mean) / std


@torch.no_grad()
def assert_equal_to_transformers(model, theirs, x0):
    pictures = F.normalize(theirs.get_image_features(pixel_values(x0)).pooler_output, dim=-1)
    assert (model.embed_pictures(x0) - pictures).abs().max() < NEAR
    ids = model.tokenize(TEXTS)
    words = F.normalize(theirs.get_text_features(ids).pooler_output, dim=-1)
    assert (model.embed_words(TEXTS) - words).abs().max() < NEAR
    assert (words[0] - words[1]).abs().max() > 0.01
    assert model.scale.item() == pytest.approx(theirs.logit_scale.exp().item())


@pytest.mark.parametrize(
    "kind", [{}, {"shape": "L/14"}, LEGACY, {"shards": True}, {"fast": False}], ids=lambda kind: str(kind) or "plain"
)
def test_a_folder_of_transformers(kind, words, x0, tmp_path):
    theirs = write_huggingface(tmp_path, words, **kind)
    if kind.get("shards"):
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    model = import_clip(tmp_path).model
    assert model.shape == (3, 224, 224)
    assert model.config.text.pool == ("argmax" if kind.get("legacy") else "first_end")
    assert_equal_to_transformers(model, theirs, x0)


@pytest.mark.parametrize(
    "kind",
    [{}, {"shape": "L/14", "quick": True}, {"custom": True}, {"pool": "eos", "custom": True}, {"bias": -10.0}],
    ids=lambda kind: str(kind) or "plain",
)
def test_a_folder_of_open_clip(kind, words, open_clip, x0, tmp_path):
    theirs = write_openclip(tmp_path, open_clip, words, **kind)
    model = import_clip(tmp_path).model
    with torch.no_grad():
        pictures = theirs.encode_image(pixel_values(x0), normalize=True)
        assert (model.embed_pictures(x0) - pictures).abs().max() < NEAR
        texts = theirs.encode_text(model.tokenize(TEXTS), normalize=True)
        assert (model.embed_words(TEXTS) - texts).abs().max() < NEAR
    assert (texts[0] - texts[1]).abs().max() > 0.01
    assert model.scale.item() == pytest.approx(theirs.logit_scale.exp().item())
    assert model.config.loss == ("sigmoid" if "bias" in kind else "softmax")
    assert "bias" not in kind or model.bias.item() == -10


def test_half_precision_and_weights_of_older_versions(words, x0, tmp_path):
    """Tensors in float16, and 0, 1, 2, … saved as if they were weights."""
    from safetensors.torch import load_file, save_file

    theirs = write_huggingface(tmp_path, words)
    path = tmp_path / "model.safetensors"
    tensors = {name: value.half() for name, value in load_file(path).items()}
    save_file(tensors | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    theirs.half().float()
    assert_equal_to_transformers(import_clip(tmp_path).model, theirs, x0)


def test_settings_given_twice_and_left_out(words, x0, tmp_path):
    """Old files say each part twice, and the second time counts; what is left out is that of ViT-B/32."""
    theirs = write_huggingface(tmp_path, words)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["text_config_dict"] = config["text_config"]
    config["text_config"] = {"num_attention_heads": 1}
    config["vision_config_dict"] = None
    del config["vision_config"]["image_size"], config["vision_config"]["patch_size"]
    path.write_text(json.dumps(config))
    assert_equal_to_transformers(import_clip(tmp_path).model, theirs, x0)


def test_a_import_clip_becomes_a_file_of_ours(words, x0, tmp_path):
    (tmp_path / "theirs").mkdir()
    write_huggingface(tmp_path / "theirs", words)
    read = import_clip(tmp_path / "theirs")
    path = tmp_path / "ours.safetensors"
    save_model(path, read.model, notes=read.notes, dtype=torch.float32)
    again = load_any_clip(path)
    assert again.model.config == read.model.config == load_clip(path).config
    assert again.preprocessing == read.preprocessing is not None
    assert again.model.tokenizer.json == read.model.tokenizer.json
    weights = read.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.model.state_dict().items())
    torch.testing.assert_close(again.model.similarity(TEXTS, x0), read.model.similarity(TEXTS, x0))
    image = Image.fromarray(np.arange(300 * 200 * 3, dtype=np.uint8).reshape(200, 300, 3))
    assert np.array_equal(again.pixels(image), read.pixels(image))


def test_on_the_command_line(words, tmp_path, capsys):
    """Pictures of any size, cut as the folder says, and `--model` naming it."""
    (tmp_path / "theirs").mkdir()
    theirs = write_huggingface(tmp_path / "theirs", words)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    capsys.readouterr()
    arguments = ["clip", "score", tmp_path / "x.png", "--words", "a red apple", "--model", tmp_path / "theirs"]
    assert main([str(word) for word in [*arguments, "--device", "cpu", "--json"]]) == 0
    said = json.loads(capsys.readouterr().out)
    processor = CLIPImageProcessorPil(image_mean=MEAN, image_std=STD)
    ids = import_clip(tmp_path / "theirs").model.tokenize(["a red apple"])
    with torch.no_grad():
        values = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        picture = theirs.get_image_features(values).pooler_output
        expected = torch.cosine_similarity(picture, theirs.get_text_features(ids).pooler_output)
    assert said["model"] == "theirs"
    assert said["pictures"][0]["cosines"] == pytest.approx(expected.tolist(), abs=2e-4)
