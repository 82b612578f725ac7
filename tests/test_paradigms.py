"""A kind of model from outside of the package goes all the way: train, kill, resume, generate, evaluate."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

TOY = '''
import math, sys
from dataclasses import dataclass

import torch
from torch import nn

from unstir.models import paradigms
from unstir.models.generative import Frame
from unstir.models.pixels import to_model, to_pixels
from unstir.diffusion.noise import batch_normal
from unstir.models.paradigms import Paradigm
from unstir.nn.text import TextConfig
from unstir.settings import Settings, setting


@dataclass(frozen=True)
class ToyConfig:
    """Each word has a mean picture; a picture is the mean of its words' pictures, and a little noise."""

    size: int
    channels: int
    text: TextConfig

    @property
    def shape(self):
        return self.channels, self.size, self.size


@dataclass(frozen=True)
class ToySettings(Settings):
    temperature: float = setting(0.1, "How much noise.", least=0)


class Toy(nn.Module):
    def __init__(self, config, tokenizer):
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.means = nn.Parameter(torch.zeros(config.text.vocabulary, math.prod(config.shape)))

    shape = property(lambda self: self.config.shape)
    device = property(lambda self: self.means.device)
    exported = lambda self: self
    parts = lambda self: {"main": self}
    compile_loss = lambda self: None

    def check_prompts(self, prompts):
        self.ids(prompts)

    def ids(self, prompts):
        return torch.tensor(self.tokenizer.encode(prompts, self.config.text.length))

    def mean(self, ids):
        real = (ids > 0)[..., None]
        return ((self.means[ids] * real).sum(1) / real.sum(1)).view(-1, *self.shape)

    def batch(self, pixels, captions):
        return to_model(pixels), self.ids(captions)

    def losses(self, batch, rng):
        yield "main", (self.mean(batch[1]) - batch[0]).square().mean()

    @torch.no_grad()
    def draw(self, prompts, seeds, settings=None, *, exact=True):
        settings = settings or ToySettings()
        noise = settings.temperature * batch_normal(self.shape, seeds, 0)
        for i in range(4):
            yield Frame(i, 4, to_pixels((self.mean(self.ids(prompts)) + noise) * (i + 1) / 4).numpy())


paradigms.register(Paradigm("toy", "a toy", Toy, ToyConfig, ToySettings))
'''

RECIPE = """
from unstir import recipes
from unstir.nn.text import TextConfig
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

def toy():
    config = TrainConfig(images=2000, batch_size=8, save_every=200, sample_every=1000, log_every=400, validation=4,
                         adamw_lr=0.02)
    return Recipe(model=ToyConfig(8, 3, TextConfig(300, 12)), train=config)

recipes.recipe_table = lambda: {"toy": toy}

if __name__ == "__main__":
    from unstir.cli import main

    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A function (arguments …) -> the ended process of `unstir arguments …` with the toy registered."""
    script = tmp_path_factory.mktemp("toy") / "toy.py"
    script.write_text(TOY + RECIPE)

    def run(*arguments, kill_at=None):
        command = [sys.executable, str(script), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
        if kill_at is None:
            return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        while process.poll() is None and not kill_at():
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process

    return run


def test_the_toy_is_small():
    assert len([line for line in TOY.splitlines() if line.strip()]) < 60


def test_a_kind_from_outside(toy, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = toy("train", "digits", "--recipe", "toy", "--run", whole)
    assert done.returncode == 0, done.stderr
    ended = toy(
        "train", "digits", "--recipe", "toy", "--run", killed, kill_at=(killed / "checkpoint.safetensors").exists
    )
    assert ended.returncode == -signal.SIGKILL
    resumed = toy("train", "digits", "--recipe", "toy", "--run", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr
    a, b = load_file(whole / "model.safetensors"), load_file(killed / "model.safetensors")
    assert a.keys() == b.keys() == {"means"}
    assert (a["means"] == b["means"]).all()
    assert a["means"].abs().max() > 0.1
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    measured = [line["validation"] for line in lines if "validation" in line]
    assert measured[-1] < 0.7 * measured[0]

    drawn = toy("generate", "a handwritten three", "--model", whole, "--seed", 1, "--trace", "--out", tmp_path / "out")
    assert drawn.returncode == 0, drawn.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-handwritten-three-1-trace.png",
        "a-handwritten-three-1-trace.webp",
        "a-handwritten-three-1.png",
    ]
    again = toy("reproduce", tmp_path / "out" / "a-handwritten-three-1.png", "--model", whole)
    assert again.returncode == 0, again.stderr
    # A setting of another kind is refused in a sentence; its own is an option.
    refused = toy("generate", "a handwritten three", "--model", whole, "--steps", 8)
    assert refused.returncode == 2
    assert "has no setting steps; it has: temperature" in refused.stderr
    assert toy("generate", "a three", "--model", whole, "--temperature", 0, "--out", tmp_path / "own").returncode == 0
    refused = toy("generate", "a three", "--model", whole, "--temperature", -1)
    assert refused.returncode == 2
    assert "--temperature must be 0 or more, got -1" in refused.stderr

    measured = toy("evaluate", whole, "digits", "-n", 40, "--features", "raw", "--out", tmp_path / "report")
    assert measured.returncode == 0, measured.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["tables"]
    assert (tmp_path / "report" / "report.html").exists()
