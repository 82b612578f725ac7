"""Whatever goes wrong while a checkpoint is written, the one before it is still there, whole."""

import os

import pytest
import torch

from unstir.errors import UserError
from unstir.train import checkpoint as module
from unstir.train.checkpoint import NAME, Checkpoint, load_checkpoint, save_checkpoint

OLD = Checkpoint({"model/a": torch.arange(6.0).reshape(2, 3), "average/a": torch.zeros(3)}, {"images_seen": 8})
NEW = Checkpoint({"model/a": torch.ones(2, 3), "average/a": torch.ones(3)}, {"images_seen": 16})


def same(a, b):
    return (
        a is not None
        and a.facts == b.facts
        and a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    )


def test_round_trip(tmp_path):
    facts = {"images_seen": 8, "loss_sum": 0.1 + 0.2, "config": {"optimiser": "muon", "wörter": ["ä", None, True]}}
    tensors = {
        "model/a": torch.randn(3, 4).t(),  # not contiguous
        "optimiser/main/a/step": torch.tensor(3.0),
        "model/half": torch.randn(5).bfloat16(),
        "model/empty": torch.zeros(0, 4),
    }
    save_checkpoint(tmp_path, Checkpoint(tensors, facts))
    found = load_checkpoint(tmp_path)
    assert same(found, Checkpoint(tensors, facts))
    assert {name: value.dtype for name, value in found.tensors.items()} == {n: v.dtype for n, v in tensors.items()}


def test_group_takes_whole_words():
    tensors = {"model/a": torch.zeros(1), "models/b": torch.zeros(1), "model/c/step": torch.zeros(1)}
    assert Checkpoint(tensors, {}).group("model").keys() == {"a", "c/step"}


def test_none_yet(tmp_path):
    assert load_checkpoint(tmp_path) is None


def failing_at(place, monkeypatch):
    """Make one stage of writing fail, having done half of its work where it can."""

    def fail(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    def half(tensors, path, metadata):
        path.write_bytes(b"half of a checkpoint")
        fail()

    if place == "save_file":
        monkeypatch.setattr(module, "save_file", half)
    else:
        monkeypatch.setattr(os, place, fail)


@pytest.mark.parametrize("place", ["save_file", "fsync", "replace"])
def test_failing_write_leaves_the_old_one(tmp_path, monkeypatch, place):
    save_checkpoint(tmp_path, OLD)
    with monkeypatch.context() as patch:
        failing_at(place, patch)
        with pytest.raises(UserError, match="No space left on device"):
            save_checkpoint(tmp_path, NEW)
    assert same(load_checkpoint(tmp_path), OLD)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]  # no half-written file either
    save_checkpoint(tmp_path, NEW)
    assert same(load_checkpoint(tmp_path), NEW)


@pytest.mark.parametrize("place", ["save_file", "fsync", "replace"])
def test_failing_first_write_leaves_nothing(tmp_path, monkeypatch, place):
    with monkeypatch.context() as patch:
        failing_at(place, patch)
        with pytest.raises(UserError, match="No space left on device"):
            save_checkpoint(tmp_path, NEW)
    assert list(tmp_path.iterdir()) == []
    assert load_checkpoint(tmp_path) is None


def test_stopped_by_ctrl_c_while_writing(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, OLD)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, NEW)
    assert same(load_checkpoint(tmp_path), OLD)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_leftovers_of_a_kill_are_cleaned(tmp_path):
    save_checkpoint(tmp_path, OLD)
    (tmp_path / "samples").mkdir()
    strays = [f".{NAME}.123-abcdef01.tmp", ".model.safetensors.9-00000000.tmp", "samples/.000000008.png.1-0f0f0f0f.tmp"]
    for stray in strays:
        (tmp_path / stray).write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("of the user")
    assert same(load_checkpoint(tmp_path), OLD)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {NAME, "samples", "notes.tmp"}


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1])
def test_truncated(tmp_path, kept):
    save_checkpoint(tmp_path, OLD)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_foreign_file(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / NAME)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_replacing_the_file_does_not_change_what_was_loaded(tmp_path):
    save_checkpoint(tmp_path, OLD)
    found = load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, NEW)
    assert same(found, OLD)
