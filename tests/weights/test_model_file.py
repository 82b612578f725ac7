import json
import os
import pickle
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from unstir.errors import UserError
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.weights.int8 import dequantize, quantize
from unstir.weights.model_file import (
    DEFAULT,
    DEFAULT_CLIP,
    HEADER,
    FewSteps,
    fast_dtype,
    few_step_weights,
    load_model,
    resolve_default,
    save_model,
)

TOKENIZER = Tokenizer.train(["a red circle", "ein grüner Kreis ☃"], 280)
TEXT = TextConfig(vocabulary=len(TOKENIZER), length=8, width=32, depth=1, heads=2)
NETWORKS = {
    "dit": DiTConfig(size=8, channels=4, patch=4, width=32, depth=1, heads=2, bottleneck=8, words=32),
    "unet": UNetConfig(
        size=8, channels=3, patch=2, widths=(16, 32), blocks=(1, 1), attend=(False, True), head=16, words=32, vector=32
    ),
}


def model_of(network="dit"):
    model = Diffusion(DiffusionConfig(NETWORKS[network], TEXT), TOKENIZER)
    initialise(model, 3)
    return model


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    settings = DiffusionSettings(steps=7, interval=(0.1, 0.9))
    save_model(path, model_of(), settings=settings, notes={"name": "tést", "n": [1, 2]})
    return path


def refused(path):
    """The message of the UserError, which must be one sentence that names the file."""
    with pytest.raises(UserError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


@pytest.mark.parametrize("network", NETWORKS)
def test_round_trip_is_exact_to_float16(network, tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    model = model_of(network)
    save_model(path, model)
    loaded = load_model(path, dtype=torch.float32)
    assert loaded.model.config == model.config
    assert loaded.model.tokenizer.json == TOKENIZER.json
    assert loaded.path == path
    weights = dict(loaded.model.named_parameters())
    for name, value in model.named_parameters():
        assert torch.equal(weights[name], value.half().float()), name
        assert not weights[name].requires_grad
        assert weights[name].device.type == "cpu"
    assert not loaded.model.training
    # A second generation loses nothing more.
    save_model(tmp_path / "again.safetensors", loaded.model)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_it_draws_the_same_pictures(tmp_path):
    model = model_of().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn(parameter.shape, generator=generator)).half())
    save_model(tmp_path / "m.safetensors", model)
    copy = load_model(tmp_path / "m.safetensors", dtype=torch.float32).model
    results = []
    for one in (model, copy):
        *_, last = one.sample(one.encode(["a red circle"]), [5], DiffusionSettings(steps=3))
        results.append(last.x0)
    assert torch.equal(*results)
    assert results[0].std() > 0


def test_settings_and_notes_travel_along(saved):
    loaded = load_model(saved)
    assert loaded.settings == DiffusionSettings(steps=7, interval=(0.1, 0.9))
    assert loaded.notes == {"name": "tést", "n": [1, 2]}


def test_other_weights_of_the_same_names_can_be_saved(tmp_path):
    model = model_of()
    average = {name: torch.full_like(value, 0.25) for name, value in model.named_parameters()}
    save_model(tmp_path / "m.safetensors", model, weights=average, dtype=torch.float32)
    loaded = load_model(tmp_path / "m.safetensors", dtype=torch.float64)
    assert all((value == 0.25).all() and value.dtype == torch.float64 for value in loaded.model.parameters())


def test_the_file_is_plain_safetensors_with_a_json_header(saved):
    assert {value.dtype for value in load_file(saved).values()} == {torch.float16}
    with safe_open(str(saved), framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    assert header["kind"] == "diffusion"
    assert set(header) == {"kind", "config", "tokenizer", "sampling", "notes"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_in_the_file_are_refused(tmp_path, bad):
    model = model_of()
    with torch.no_grad():
        next(model.parameters())[0] = bad
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"the one before")
    with pytest.raises(ValueError, match="not finite"):
        save_model(path, model)
    assert path.read_bytes() == b"the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_run_folder_stands_for_its_model(saved):
    assert load_model(saved.parent).path == saved


def test_the_dtype_suits_the_device(saved):
    assert fast_dtype("cuda") == torch.bfloat16
    assert fast_dtype("cpu") in (torch.bfloat16, torch.float32)
    assert next(load_model(saved).model.parameters()).dtype == fast_dtype("cpu")


def test_the_file_may_be_replaced_and_removed_under_a_loaded_model(saved):
    """Also when no conversion copies the memory-mapped weights (dtype as in the file)."""
    loaded = load_model(saved, dtype=torch.float16)
    before = {name: value.clone() for name, value in loaded.model.named_parameters()}
    other = model_of()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(1)
    save_model(saved, other)
    saved.unlink()
    for name, value in loaded.model.named_parameters():
        assert torch.equal(value, before[name])


def test_weights_are_read_by_memory_map(saved, monkeypatch):
    """One tensor at a time from a map, never the whole file into memory."""
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("the file was read by open"))
    monkeypatch.setattr("safetensors.torch.load_file", lambda *a, **k: pytest.fail("loaded whole"))
    load_model(saved, dtype=torch.float16)


def test_a_missing_file(tmp_path):
    assert "there is no model" in refused(tmp_path / "nothing.safetensors")


def test_a_folder_without_a_model(tmp_path):
    assert "holds no model.safetensors" in refused(tmp_path)


def test_a_pickle_under_another_name_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    assert "pickled checkpoints" in refused(path)
    torch.save({"weight": torch.zeros(3)}, path)
    assert "pickled checkpoints" in refused(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, -1])
def test_a_truncated_file(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * keep) if 0 < keep < 1 else keep])
    assert "not a readable safetensors file" in refused(saved)


def test_other_peoples_safetensors(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"unet.conv_in.weight": torch.zeros(3, 3)}, path, metadata={"format": "pt"})
    assert "no unstir model" in refused(path)
    save_file({"a": torch.zeros(1)}, path)
    assert "no unstir model" in refused(path)


def rewrite(path, change=lambda header: None, tensors=lambda tensors: None):
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    weights = load_file(path)
    weights = {name: value.clone() for name, value in weights.items()}
    replaced = change(header)
    tensors(weights)
    text = replaced if isinstance(replaced, str) else json.dumps(header)
    save_file(weights, path, metadata={HEADER: text})


@pytest.mark.parametrize(
    "change",
    [
        lambda header: "{",
        lambda header: "[]",
        lambda header: "null",
        lambda header: '{"kind": "diffusion"}',
        lambda header: header.update(kind="os.system"),
        lambda header: header.update(tokenizer="{}"),
        lambda header: header.update(tokenizer="not json"),
        lambda header: header.update(config=[]),
        lambda header: header.update(sampling={"later": 1}),
        lambda header: header.update(sampling=3),
        lambda header: header.update(notes=None) or header["config"].update(network=3),
        lambda header: header["config"].update(schedule="later"),
        lambda header: header["config"].update(text=None),
        lambda header: header["config"]["network"].update(kind="mamba"),
        lambda header: header["config"]["network"].update(width="wide"),
        lambda header: header["config"]["network"].update(patch=0),
        lambda header: header["config"]["network"].update(depth=-1, width=-4),
    ],
)
def test_a_header_that_describes_nothing_we_know(saved, change):
    rewrite(saved, change)
    assert len(refused(saved)) > 20


def test_a_header_of_another_architecture(saved):
    rewrite(saved, lambda header: header["config"]["network"].update(depth=3))
    assert "does not hold the weights" in refused(saved)
    rewrite(saved, lambda header: header["config"]["network"].update(depth=1, bottleneck=16))
    assert "has the shape" in refused(saved)


@pytest.mark.parametrize(
    ("part", "claim"),
    [
        ("text", {"depth": 10**9}),
        ("network", {"depth": 10**7}),
        ("network", {"width": 2**40}),
        ("text", {"width": 2**40}),
    ],
)
def test_a_header_that_claims_more_than_the_file_holds(saved, part, claim):
    """It is refused before the layers are laid out, not after hours."""
    rewrite(saved, lambda header: header["config"][part].update(claim))
    began = time.monotonic()
    assert "describes a model that cannot be built" in refused(saved)
    assert time.monotonic() - began < 5


def test_missing_additional_and_misshapen_weights(saved):
    def drop(tensors):
        del tensors["network.out.bias"]

    content = saved.read_bytes()
    rewrite(saved, tensors=drop)
    assert "network.out.bias" in refused(saved)
    saved.write_bytes(content)
    rewrite(saved, tensors=lambda tensors: tensors.update(extra=torch.zeros(1)))
    assert "extra" in refused(saved)
    saved.write_bytes(content)
    rewrite(saved, tensors=lambda tensors: tensors.update({"network.out.bias": torch.zeros(3)}))
    assert "network.out.bias has the shape (3,)" in refused(saved)


def test_a_header_length_beyond_all_reason(saved):
    content = saved.read_bytes()
    saved.write_bytes(struct.pack("<Q", 2**62) + content[8:])
    assert "not a readable safetensors file" in refused(saved)


def test_int8(tmp_path):
    rows = torch.randn(96, 64, generator=torch.manual_seed(0)) * torch.logspace(-6, 3, 96)[:, None]
    small = torch.randn(8, 8, generator=torch.manual_seed(1))
    stored = quantize({"a": rows, "b": small, "empty": torch.zeros(64, 64)})
    assert stored["a"].dtype == torch.int8
    assert stored["b"].dtype == torch.float16
    back = dequantize(stored["a"], stored["scale/a"])
    assert ((back - rows).abs() <= rows.abs().amax(1, keepdim=True) / 127 * 0.51).all()
    assert (dequantize(stored["empty"], stored["scale/empty"]) == 0).all()
    with pytest.raises(ValueError, match="do not go with"):
        dequantize(stored["a"], stored["scale/a"][:5])


def test_one_file_for_many_steps_and_for_few(tmp_path):
    model = model_of()
    name = "blocks.0.attention.qkv.weight"
    rows, columns = dict(model.network.named_parameters())[name].shape
    generator = torch.manual_seed(2)
    lora = {name: (torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator))}
    few = FewSteps(6, DiffusionSettings(steps=4, guidance_scale=1.0, sampler="ddim"), lora)
    path = tmp_path / "both.safetensors"
    save_model(path, model, settings=DiffusionSettings(steps=24), few=few)
    many, alike, quick = (load_model(path, dtype=torch.float32, steps=steps) for steps in (None, 7, 4))
    assert (many.few, alike.few, quick.few) == (False, False, True)
    assert many.settings.steps == alike.settings.steps == 24
    assert quick.settings == few.settings
    for key, weight in many.model.named_parameters():
        other = dict(quick.model.named_parameters())[key]
        if key == f"network.{name}":
            a, b = lora[name]
            assert torch.allclose(other, weight + b @ a, atol=0.05)
            assert not torch.allclose(other, weight, atol=0.05)
        else:
            assert torch.equal(other, weight)
    assert not any(p.requires_grad for p in quick.model.parameters())


def test_a_change_that_does_not_fit_is_one_sentence(tmp_path):
    few = FewSteps(6, DiffusionSettings(), {"blocks.9.attention.qkv.weight": (torch.zeros(2, 8), torch.zeros(8, 2))})
    save_model(tmp_path / "odd.safetensors", model_of(), few=few)
    load_model(tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        load_model(tmp_path / "odd.safetensors", steps=4)


def test_what_ships_has_a_name(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path("icons")
    assert resolve_default(name, DEFAULT) == DEFAULT
    assert resolve_default(name, DEFAULT_CLIP) == DEFAULT_CLIP
    (tmp_path / "icons").mkdir()
    assert resolve_default(name, DEFAULT) == DEFAULT, "a folder of pictures, say"
    (tmp_path / "icons" / "model.safetensors").write_bytes(saved.read_bytes())
    assert resolve_default(name, DEFAULT) == name
    assert resolve_default(saved, DEFAULT) == saved


def test_the_change_for_few_steps_is_read_back(saved, tmp_path):
    assert few_step_weights(saved) is None
    lora = {"blocks.0.mlp.up.weight": (torch.randn(2, 4).half().float(), torch.randn(3, 2).half().float())}
    few = FewSteps(6, DiffusionSettings(steps=4), lora)
    save_model(tmp_path / "few.safetensors", model_of(), few=few)
    got = few_step_weights(tmp_path / "few.safetensors")
    assert (got.most, got.settings) == (6, DiffusionSettings(steps=4))
    for kept, part in zip(got.lora["blocks.0.mlp.up.weight"], lora["blocks.0.mlp.up.weight"], strict=True):
        assert torch.equal(kept.float(), part)
