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
from unstir.errors import UserError
from unstir.interop.clip import clip_at, read_clip
from unstir.weights.modelfile import load_clip, save_model

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
    model = read_clip(tmp_path).model
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
    model = read_clip(tmp_path).model
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
    assert_equal_to_transformers(read_clip(tmp_path).model, theirs, x0)


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
    assert_equal_to_transformers(read_clip(tmp_path).model, theirs, x0)


def test_a_read_clip_becomes_a_file_of_ours(words, x0, tmp_path):
    (tmp_path / "theirs").mkdir()
    write_huggingface(tmp_path / "theirs", words)
    read = read_clip(tmp_path / "theirs")
    path = tmp_path / "ours.safetensors"
    save_model(path, read.model, notes=read.notes, dtype=torch.float32)
    again = clip_at(path)
    assert again.model.config == read.model.config == load_clip(path).config
    assert again.preparation == read.preparation is not None
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
    ids = read_clip(tmp_path / "theirs").model.tokenize(["a red apple"])
    with torch.no_grad():
        values = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        picture = theirs.get_image_features(values).pooler_output
        expected = torch.cosine_similarity(picture, theirs.get_text_features(ids).pooler_output)
    assert said["model"] == "theirs"
    assert said["pictures"][0]["cosines"] == pytest.approx(expected.tolist(), abs=2e-4)


# Refusals, each in one sentence


@pytest.fixture
def folder(words, tmp_path):
    write_huggingface(tmp_path, words)
    return tmp_path


@pytest.fixture
def openclip_folder(words, open_clip, tmp_path):
    write_openclip(tmp_path, open_clip, words)
    return tmp_path


def changed(path, *keys, **values):
    """Put values into a part of a JSON file; None takes a key away."""
    content = part = json.loads(path.read_text())
    for key in keys:
        part = part[key]
    for key, value in values.items():
        part[key] = value
        if value is None:
            del part[key]
    path.write_text(json.dumps(content))


def refusal(folder):
    with pytest.raises(UserError) as caught:
        clip_at(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def test_pickles_are_refused(folder):
    weights = folder / "model.safetensors"
    for name in ("pytorch_model.bin", "model.pt"):
        weights = weights.rename(folder / name)
        assert "is a pickle, which runs whatever code" in refusal(folder)
        assert "is a pickle" in refusal(folder / name)
    # Also under another name.
    torch.save({"logit_scale": torch.ones(())}, folder / "model.safetensors")
    assert "not a readable safetensors file" in refusal(folder)


def test_missing_and_surplus_tensors_are_named(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    lost = "vision_model.encoder.layers.1.mlp.fc2.bias"
    save_file({name: value for name, value in tensors.items() if name != lost}, path)
    assert f"it misses {lost}" in refusal(folder)
    save_file(tensors | {f"head.{i}": torch.ones(1) for i in range(5)}, path)
    assert "has head.0, head.1, head.2 and 2 more too many" in refusal(folder)
    save_file(tensors | {lost: torch.ones(3)}, path)
    assert f"other shapes than it describes: {lost} (3,)" in refusal(folder)
    save_file(tensors | {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(3)}, path)
    assert "q_proj.weight (3,)" in refusal(folder)


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        ((), {"model_type": "siglip"}, "model_type is 'siglip'"),
        ((), {"projection_dim": "wide"}, "projection_dim is 'wide'"),
        (("vision_config",), {"hidden_act": "silu"}, "no activation 'silu'"),
        (("vision_config",), {"layer_norm_eps": 1e-6}, "layer norms"),
        (("vision_config",), {"num_channels": 1}, "1 channels"),
        (("vision_config",), {"patch_size": 0}, "patch_size is 0"),
        (("vision_config",), {"patch_size": 33}, "not a multiple"),
        (("vision_config",), {"num_attention_heads": 7}, "not divisible by 7 heads"),
        (("vision_config",), {"image_size": [224, 192]}, "image_size is [224, 192]"),
        (("text_config",), {"eos_token_id": 5}, "the model looks for 5"),
        (("text_config",), {"vocab_size": 100}, "and the model reads 100"),
        (("text_config",), {"num_hidden_layers": 3}, "misses text_model.encoder.layers.2"),
        (("text_config",), {"num_hidden_layers": 1}, "too many"),
    ],
)
def test_configurations_of_other_networks(keys, values, expected, folder):
    changed(folder / "config.json", *keys, **values)
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"crop_size": 200}, "crop_size is 200"),
        ({"do_center_crop": False}, "crop_size"),
        ({"image_mean": [0.5]}, "image_mean is [0.5]"),
        ({"image_mean": None}, "image_mean is ()"),
        ({"resample": "nice"}, "resample"),
        ({"resample": 17}, "no resizing filter 17"),
        ({"do_resize": False}, "do_resize is False"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"size": {"shortest_edge": 100}}, "cannot be cut out of 100"),
        ({"size": {"height": 224, "width": 300}}, "the model reads 224"),
    ],
)
def test_preparations_that_are_not_known(values, expected, folder):
    changed(folder / "preprocessor_config.json", **values)
    sentence = refusal(folder)
    assert "preprocessor_config.json wants pictures in a way" in sentence
    assert expected in sentence


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        (("model_cfg",), {"multimodal_cfg": {"width": 5}}, "multimodal_cfg"),
        (("model_cfg",), {"new_thing": 1}, "the field 'new_thing'"),
        (("model_cfg", "vision_cfg"), {"timm_model_name": "convnext"}, "timm_model_name"),
        (("model_cfg", "vision_cfg"), {"layers": [3, 4, 6, 3]}, "layers is [3, 4, 6, 3]"),
        (("model_cfg", "vision_cfg"), {"pool_type": "avg"}, "pool_type is 'avg'"),
        (("model_cfg", "vision_cfg"), {"norm_kwargs": {"eps": 1e-6}}, "norm_kwargs"),
        (("model_cfg", "text_cfg"), {"hf_model_name": "roberta"}, "hf_model_name"),
        (("model_cfg", "text_cfg"), {"pool_type": "last"}, "pool_type is 'last'"),
        (("model_cfg", "text_cfg"), {"no_causal_mask": True}, "no_causal_mask"),
        (("preprocess_cfg",), {"resize_mode": "longest"}, "resize_mode is 'longest'"),
        ((), {"model_cfg": []}, "embed_dim is None"),
        ((), {"model_cfg": [1]}, "model_cfg is not an object"),
    ],
)
def test_other_networks_of_open_clip(keys, values, expected, openclip_folder):
    changed(openclip_folder / "open_clip_config.json", *keys, **values)
    assert expected in refusal(openclip_folder)


def test_files_that_are_missing_or_broken(folder, tmp_path_factory):
    (folder / "preprocessor_config.json").rename(folder / "away")
    assert "holds no preprocessor_config.json" in refusal(folder)
    (folder / "away").rename(folder / "preprocessor_config.json")
    (folder / "tokenizer.json").rename(folder / "away")
    assert "holds no tokenizer" in refusal(folder)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    assert "no token <|startoftext|>" in refusal(folder)
    (folder / "vocab.json").write_text("[")
    assert "cannot be read" in refusal(folder)
    (folder / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be read" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "cannot be read as JSON" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "not a JSON object" in refusal(folder)
    empty = tmp_path_factory.mktemp("empty")
    assert "holds no CLIP" in refusal(empty)
    assert "there is no model" in refusal(empty / "nothing")


def test_shards_cannot_name_files_elsewhere(words, tmp_path):
    write_huggingface(tmp_path, words, shards=True)
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    first, *_ = content["weight_map"]
    for bad, expected in (
        ("../x.safetensors", "does not say"),
        ("x.bin", "does not say"),
        ("x.safetensors", "lacks x"),
    ):
        changed(index, "weight_map", **{first: bad})
        assert expected in refusal(tmp_path)
    changed(index, "weight_map", **{first: content["weight_map"][first], "surplus": content["weight_map"][first]})
    assert "does not fit the files beside it: surplus" in refusal(tmp_path)


def test_a_folder_with_both_layouts_gives_what_is_no_pickle(openclip_folder, words):
    (openclip_folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (openclip_folder / "pytorch_model.bin").write_bytes(b"")
    assert read_clip(openclip_folder).model.config.width == 40
