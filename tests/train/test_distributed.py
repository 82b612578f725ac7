"""Two processes train as one: the same model up to rounding, stopped together, killed and continued to the same bits.

A driver imports torch once and forks what torchrun would start: processes that know their rank from the environment.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from unstir.errors import UserError
from unstir.models import consistency, diffusion
from unstir.models.consistency import Consistency
from unstir.models.diffusion import Batch
from unstir.models.process_group import ProcessGroup
from unstir.train import batches, checkpoint
from unstir.train.batches import picture_batches
from unstir.train.distributed import any_process, average_gradients, is_first, joined_processes
from unstir.train.log import Log

DRIVER = '''
import os, signal, socket, sys
from pathlib import Path

import torch
import torch._dynamo

torch.set_num_threads(1)

from unstir import recipes
from unstir.cli import main
from unstir.models.clip import ClipConfig
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import DiffusionSettings
from unstir.train.auto_clip_recipe import clip_text
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe
from unstir.train.run import Run

root = Path(sys.argv[1]) if len(sys.argv) == 2 else None
STEPS = 40
train = TrainConfig(
    images=8 * STEPS, batch_size=8, warmup=80, log_every=80, sample_every=160, save_every=80, precision="fp32",
    optimiser="adamw", validation=100, best="least validation",
)


def draws():
    network = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    model = DiffusionConfig(network, TextConfig(290, length=12, width=32, depth=1))
    return Recipe(model=model, train=train, prompts=("a handwritten one",), settings=DiffusionSettings(steps=2))


def compares():
    from dataclasses import replace
    vision = VisionConfig(8, 3, patch=2, width=32, depth=1, heads=1, mlp=64)
    text = clip_text(width=32, depth=1, vocabulary=290, length=12)
    config = replace(train, best="most image-to-text R@1")
    return Recipe(model=ClipConfig(vision, text, width=16, augment=True), train=config)


recipes.recipe_table = lambda: {"draws": draws, "compares": compares}


def command(recipe, folder):
    return ["train", "digits", "--recipe", recipe, "--run", str(folder), "--device", "cpu"]


def at_step(count, signum):
    """Send this process a signal in the middle of step number `count`."""
    real, calls = Run.step, 0

    def step(run):
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signum)
        real(run)

    Run.step = step


def started(recipe, folder, processes, prepare=lambda rank: None):
    """The exit codes of the processes of one call."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(root / f"{folder}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            if processes > 1:
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                }
            prepare(rank)
            os._exit(main(command(recipe, root / folder)))
        children.append(pid)
    codes = []
    while children:
        codes.insert(0, os.waitstatus_to_exitcode(os.waitpid(children.pop(), 0)[1]))
        if codes[0] != 0:  # torchrun ends the others too
            for other in children:
                os.kill(other, signal.SIGKILL)
    return codes


if root is not None:
    for recipe in ("draws", "compares"):
        assert started(recipe, f"{recipe}-one", 1) == [0]
        assert started(recipe, f"{recipe}-two", 2) == [0, 0]
        assert started(
            recipe, f"{recipe}-killed", 2, lambda rank: rank == 1 and at_step(25, signal.SIGKILL)
        ) == [-signal.SIGKILL] * 2
        assert started(recipe, f"{recipe}-killed", 2) == [0, 0]
        assert started(recipe, f"{recipe}-stopped", 2, lambda rank: rank == 1 and at_step(13, signal.SIGINT)) == [0, 0]
        assert started(recipe, f"{recipe}-stopped", 2) == [0, 0]
else:
    sys.exit(main(command(sys.argv[1], sys.argv[2])))
'''


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(DRIVER)
    return path


@pytest.fixture(scope="module")
def runs(driver, tmp_path_factory):
    """A folder with runs of one process, of two, of two that were killed, and of two that were stopped."""
    root = tmp_path_factory.mktemp("runs")
    done = subprocess.run([sys.executable, driver, root], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in root.glob("*.txt"))
    return root


def logged(folder):
    return [{name: value for name, value in line.items() if name != "rate"} for line in Log.lines(folder)]


@pytest.mark.parametrize("recipe", ["draws", "compares"])
def test_two_processes_train_as_one(runs, recipe):
    """Forty steps of AdamW. Sums in another order differ by 1e-7; a gradient near zero turns that into more: that of
    the keys' biases, on which attention does not depend, is nothing but rounding, and AdamW takes whole steps by it.
    """
    one, two = checkpoint.load_checkpoint(runs / f"{recipe}-one"), checkpoint.load_checkpoint(runs / f"{recipe}-two")
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.group("model").items():
        if name.endswith("qkv.bias"):
            continue
        torch.testing.assert_close(two.group("model")[name], value, rtol=1e-3, atol=2e-4, msg=name)
    moved = checkpoint.load_checkpoint(runs / f"{recipe}-one").group("model")
    assert max(value.abs().max() for value in moved.values()) > 0.1
    for line, other in zip(logged(runs / f"{recipe}-one"), logged(runs / f"{recipe}-two"), strict=True):
        assert line.keys() == other.keys()
        assert line.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-4)


@pytest.mark.parametrize("recipe", ["draws", "compares"])
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_two_processes_killed_or_stopped_and_continued_end_in_the_same_bits(runs, recipe, how):
    whole, parts = runs / f"{recipe}-two", runs / f"{recipe}-{how}"
    names = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert names == {path.relative_to(parts).as_posix() for path in parts.rglob("*") if path.is_file()}
    assert {"model.safetensors", "best.safetensors", checkpoint.NAME} <= names
    for name in (checkpoint.NAME, *(name for name in names if name.endswith(".png"))):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    assert logged(whole) == logged(parts)


def test_the_first_process_speaks_for_all(runs):
    said = [(runs / f"draws-stopped-{rank}.txt").read_text() for rank in range(2)]
    assert "stopped after 104 of 320 pictures" in said[0]
    assert "done: " in said[0]
    assert said[1] == ""


@pytest.mark.slow
def test_under_torchrun_and_stopped_by_ctrl_c(driver, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", driver]
    call = [*torchrun, "draws", tmp_path / "r"]
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while len(Log.lines(tmp_path / "r")) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    seen = checkpoint.load_checkpoint(tmp_path / "r").facts["images_seen"]
    assert 0 < seen < 320, said
    assert re.search(f"stopped after {seen} of 320 pictures", said), said
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert "done: " in done.stderr
    assert checkpoint.load_checkpoint(tmp_path / "r").facts["images_seen"] == 320


# One process, parts of a batch


def as_process(monkeypatch, rank, *modules):
    for module in modules:
        monkeypatch.setattr(module, "process_group", lambda: ProcessGroup(rank, 2))


def test_noise_is_drawn_for_all_and_shared(tiny, tmp_path, monkeypatch):
    run = tiny(tmp_path)
    x0 = run.source.next_batch(0).x0
    whole = run.model.sample_times(x0, torch.Generator().manual_seed(1))
    parts = []
    for rank in range(2):
        as_process(monkeypatch, rank, diffusion)
        parts.append(run.model.sample_times(x0[4 * rank : 4 * rank + 4], torch.Generator().manual_seed(1)))
    for k in range(2):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])


def test_distillation_shares_its_noise_too(tiny, tmp_path, monkeypatch):
    model = tiny(tmp_path).model
    pair = Consistency(model, tiny(tmp_path).model, 1.5, 4)
    batch = tiny(tmp_path).source.next_batch(0)
    ((_, whole),) = pair.losses(batch, torch.Generator().manual_seed(1))
    parts = []
    for rank in range(2):
        as_process(monkeypatch, rank, consistency)
        mine = slice(4 * rank, 4 * rank + 4)
        ((_, loss),) = pair.losses(Batch(batch.x0[mine], batch.ids[mine]), torch.Generator().manual_seed(1))
        parts.append(loss.item())
    assert sum(parts) / 2 == pytest.approx(whole.item(), rel=1e-5)


def test_batches_are_shared(tiny, tmp_path, monkeypatch):
    run = tiny(tmp_path)
    whole = run.source.next_batch(16)
    parts = []
    for rank in range(2):
        as_process(monkeypatch, rank, batches)
        parts.append(picture_batches(run.model, run.pictures, run.config).next_batch(16))
    assert torch.equal(torch.cat([part.x0 for part in parts]), whole.x0)
    assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
    with pytest.raises(ValueError, match="shared equally"):
        picture_batches(run.model, run.pictures, replace(run.config, batch_size=7)).next_batch(0)


def test_one_process_is_the_first_and_agrees_with_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes("cpu") as device:
        assert device == "cpu"
    assert is_first()
    assert any_process(True)
    assert not any_process(False)
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad.clone()
    assert average_gradients(layer.parameters(), torch.tensor(3.0)).item() == 3
    assert torch.equal(layer.weight.grad, before)


def test_more_processes_than_gpus(monkeypatch):
    for name, value in {"WORLD_SIZE": "99", "LOCAL_RANK": "98", "RANK": "98"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="GPUs here"), joined_processes("cuda"):
        pass
