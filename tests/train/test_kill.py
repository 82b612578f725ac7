"""A run may be killed at any instant, and the same command ends in the very same bits.

A driver imports torch once and forks: each child is one call of `unstir train`, killed with SIGKILL either from outside
at a random time, or from inside a random write to the disk (half of a file written; before a sync; before a rename).
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unstir.train import checkpoint
from unstir.train.log import Log

DRIVER = '''
import json, os, random, signal, sys, time
from pathlib import Path

import torch
import torch._dynamo  # the optimisers would import it, in every child anew

torch.set_num_threads(1)

from unstir import recipes
import unstir.train.checkpoint
import unstir.weights.model_file
from unstir.cli import main
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe
from unstir.train.run import Run

data, root, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
random = random.Random(int(sys.argv[4]))


def tiny():
    return Recipe(
        model=DiffusionConfig(
            DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32),
            TextConfig(290, length=12, width=32, depth=1),
        ),
        train=TrainConfig(
            images=8 * 12 * kills, batch_size=8, warmup=100, log_every=24, sample_every=8 * 20, save_every=16,
            validation=4, best="least validation",
        ),
        prompts=("a red disc", "a blue box"),
        settings=DiffusionSettings(steps=2),
    )


recipes.recipe_table = lambda: {"tiny": tiny}


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killing(name, count):
    """Replace a function by one that does its work until call number `count`, and then dies in the middle of it."""
    calls = 0

    def wrapped(real):
        def call(*args, **keywords):
            nonlocal calls
            calls += 1
            if calls < count:
                return real(*args, **keywords)
            if name == "save_file":
                real(*args, **keywords)
                os.truncate(args[1], os.path.getsize(args[1]) // 2)
            die()

        return call

    if name == "save_file":
        both = wrapped(unstir.train.checkpoint.save_file)
        unstir.train.checkpoint.save_file = unstir.weights.model_file.save_file = both
    else:
        setattr(os, name, wrapped(getattr(os, name)))


def child(folder, prepare):
    """One call of the command in a process of its own; its id."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        prepare()
        os._exit(main(["train", data, "--recipe", "tiny", "--run", str(folder)]))
    return pid


def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


began = time.monotonic()
assert waited(child(root / "whole" / "run", lambda: None)) == 0
whole = time.monotonic() - began

names = ["save_file", "fsync", "replace"]
where = []
while len(where) < kills:
    inside = len(where) % 2 == 0
    if inside:
        name = names[len(where) // 2 % 3]
        pid = child(root / "killed" / "run", lambda: killing(name, random.randint(1, 6)))
        code = waited(pid)
    else:
        name = "time"
        reading, writing = os.pipe()

        def tell():
            real = Run.restore

            def restore(run):
                found = real(run)
                os.write(writing, b"!")
                return found

            Run.restore = restore

        pid = child(root / "killed" / "run", tell)
        os.close(writing)  # so that reading ends if the child does
        if random.random() < 0.8:
            os.read(reading, 1)  # the run is open: from here on the time is spent on training
        time.sleep(random.random() * whole / (kills + 2))
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        code = waited(pid)
    if code != -signal.SIGKILL:
        sys.exit(f"kill {len(where)} ({name}): the command ended by itself with {code}")
    where.append(name)

code = waited(child(root / "killed" / "run", lambda: None))
print(json.dumps({"kills": where, "code": code}))
'''


def pictures(folder):
    """Sixteen small captioned pictures."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        colour, shape = ("red", "blue")[i % 2], ("disc", "box")[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text(f"a {colour} {shape}")
    return folder


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_and_continue(tmp_path, kills):
    (tmp_path / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, tmp_path / "driver.py", pictures(tmp_path / "pictures"), tmp_path, str(kills), "7"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    output = (tmp_path / "output.txt").read_text()
    assert done.returncode == 0, done.stderr + output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0
    assert len(told["kills"]) == kills
    assert set(told["kills"]) == (
        {"save_file", "time", "fsync"} if kills == 3 else {"save_file", "fsync", "replace", "time"}
    )
    assert "Traceback" not in output

    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert files == {path.relative_to(killed).as_posix() for path in killed.rglob("*") if path.is_file()}
    assert {
        checkpoint.NAME,
        "model.safetensors",
        "best.safetensors",
        "run.json",
        "log.jsonl",
        "samples/000000000.png",
    } <= files
    for name in files - {"log.jsonl"}:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    first, second = Log.lines(whole), Log.lines(killed)
    assert len([line for line in first if "loss" in line]) == kills * 8 * 12 // 24
    assert len([line for line in first if "validation" in line]) == 2 + (kills * 12 - 1) // 20
    for line, other in zip(first, second, strict=True):
        assert {**line, "rate": 0} == {**other, "rate": 0}
