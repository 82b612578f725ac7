"""A full disk stops a run with one sentence, and costs nothing that was saved before."""

import shutil

import pytest
import torch

from unstir.errors import UserError
from unstir.train.checkpoint import NAME
from unstir.train.loop import training_loop


def test_a_checkpoint_that_finds_no_room(tiny, tiny_disk, tmp_path):
    whole = tiny(tmp_path / "whole", width=16)
    list(training_loop(whole))
    folder = tiny_disk / "run"
    run = tiny(folder, width=16)
    for _ in range(5):
        run.step()
    run.save()
    assert (folder / NAME).exists()
    before = (folder / NAME).read_bytes()
    filler = tiny_disk / "filler"
    filler.write_bytes(b"0" * (shutil.disk_usage(tiny_disk).free - 4096))
    with pytest.raises(UserError, match=rf"{folder} has no room for {NAME}: it needs \d+ kB and .* are free"):
        run.save()
    assert (folder / NAME).read_bytes() == before
    filler.unlink()
    resumed = tiny(folder, width=16)
    list(training_loop(resumed))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
