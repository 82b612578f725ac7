"""What is no CLIP that can be read is refused in one sentence that says why."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_clips import write_huggingface, write_openclip

from unstir.errors import UserError
from unstir.interop.clip import import_clip, load_any_clip


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
        load_any_clip(folder)
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
    path = folder / "model.safetensors"
    tensors = load_file(path)
    lost = "vision_model.encoder.layers.1.mlp.fc2.bias"
    save_file({name: value for name, value in tensors.items() if name != lost}, path)
    assert f"configuration: missing {lost}" in refusal(folder)
    save_file(tensors | {f"head.{i}": torch.ones(1) for i in range(5)}, path)
    assert "unexpected head.0, head.1, head.2 and 2 more" in refusal(folder)
    save_file(tensors | {lost: torch.ones(3)}, path)
    assert f"do not match its configuration: {lost} (3,)" in refusal(folder)
    save_file(tensors | {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(3)}, path)
    assert "q_proj.weight (3,)" in refusal(folder)


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        ((), {"model_type": "siglip"}, "model_type is 'siglip'"),
        ((), {"projection_dim": "wide"}, "projection_dim is 'wide'"),
        (("vision_config",), {"hidden_act": "silu"}, "no activation 'silu'"),
        (("vision_config",), {"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06"),
        (("vision_config",), {"num_channels": 1}, "num_channels is 1"),
        (("vision_config",), {"patch_size": 0}, "patch_size is 0"),
        (("vision_config",), {"patch_size": 33}, "not a multiple"),
        (("vision_config",), {"num_attention_heads": 7}, "not divisible by 7 heads"),
        (("vision_config",), {"image_size": [224, 192]}, "image_size is [224, 192]"),
        (("text_config",), {"eos_token_id": 5}, "its model expects 5"),
        (("text_config",), {"vocab_size": 100}, "its model reads 100"),
        (("text_config",), {"num_hidden_layers": 3}, "missing text_model.encoder.layers.2"),
        (("text_config",), {"num_hidden_layers": 10**9}, "1000000000 layers and its weights"),
        (("text_config",), {"num_hidden_layers": 1}, "unexpected text_model.encoder.layers.1"),
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
        ({"size": {"shortest_edge": 100}}, "cannot be cropped from 100"),
        ({"size": {"height": 224, "width": 300}}, "the model reads 224"),
    ],
)
def test_preprocessing_that_is_not_supported(values, expected, folder):
    changed(folder / "preprocessor_config.json", **values)
    sentence = refusal(folder)
    assert "preprocessor_config.json asks for preprocessing that unstir does not have" in sentence
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
    assert "does not match the files beside it: surplus" in refusal(tmp_path)


def test_a_folder_with_both_layouts_gives_what_is_no_pickle(openclip_folder, words):
    (openclip_folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (openclip_folder / "pytorch_model.bin").write_bytes(b"")
    assert import_clip(openclip_folder).model.config.width == 40
