"""docs/extending.md, followed to the letter: its blocks are applied to a copy of the package, and it runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

# What the page says of the changes that have no test of their own.
SMALL_CHANGES = """\
import numpy as np
import pytest
import torch

import unstir
from unstir.cli import main
from unstir.diffusion.denoiser import gaussian_denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.sampler import levels_of, named_sampler
from unstir.diffusion.schedule import LinearBeta
from unstir.errors import UserError
from unstir.evaluate.metrics.distribution import distribution_metrics
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import save_model


def reached(sampler, steps):
    levels = levels_of(LinearBeta(), time_grid(LinearBeta(), steps, "logsnr"))
    xt = torch.tensor([[1.5]], dtype=torch.float64) * levels[0].sigma
    denoise = gaussian_denoiser(torch.tensor(0.3), torch.tensor(0.5), LinearBeta())
    *_, last = named_sampler(sampler)(denoise, xt, None, levels, None)
    return last.x0.item()


def test_the_sampler_has_order_2():
    exact = reached("heun", 2000)
    errors = [abs(reached("adams_bashforth", steps) - exact) for steps in (20, 40, 80)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[0] < abs(reached("euler", 20) - exact) / 2


def test_sampler_and_setting_are_options_and_arguments(capsys, tmp_path):
    main(["generate", "--help"])
    page = capsys.readouterr().out
    assert "--temperature" in page
    assert "adams_bashforth" in page
    tokenizer = Tokenizer.train(["red apple"], 300)
    network = DiTConfig(8, 3, patch=2, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(tokenizer), length=16, width=32, depth=1, heads=2)
    model = Diffusion(DiffusionConfig(network, text), tokenizer)
    initialise(model, 0)
    with torch.no_grad():
        model.network.out.weight.fill_(0.1)
    save_model(tmp_path / "m.safetensors", model)
    model = unstir.load(tmp_path / "m.safetensors")
    usual, calm = (
        model.draw("red apple", seed=1, steps=2, sampler="adams_bashforth", temperature=t)[0] for t in (1.0, 0.5)
    )
    assert calm.request.settings.temperature == 0.5
    assert calm.tobytes() != usual.tobytes()
    with pytest.raises(UserError, match="temperature must be above 0 and at most 2, got 3"):
        model.draw("red apple", temperature=3.0)


def test_the_metric_is_in_the_report_with_its_interval():
    rows = np.random.default_rng(0).standard_normal((4, 80, 6))
    others, generated, prompted = np.concatenate(rows[:2]), rows[2] + 1.0, rows[3]
    names = [str(i) for i in range(160)]
    metrics, count = distribution_metrics(others, generated, prompted, names, names[:80])
    (found,) = (one for one in metrics if one.name == "sliced Wasserstein distance")
    assert count == 80
    assert found.value > 2 * found.ceiling
    assert found.interval[0] < found.value < found.interval[1]
"""


def sections():
    """The changes of the page: (title, [(path, what its line says, language, block), …])."""
    for section in PAGE.split("\n## ")[1:]:
        blocks, path, words = [], "", ""
        for line, language, block in re.findall(
            r"^(`[^\n]*:)$|^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL
        ):
            if line:
                path, words = re.fullmatch(r"`([\w/.]+)`(.*):", line).groups()
            else:
                blocks.append((path, words, language, block))
        yield section.splitlines()[0], blocks


def apply(tree, path, words, language, block):
    """Write a new file, or change an old one as a diff says, whose lines must be there exactly once."""
    target = tree / path
    if language == "python":
        assert "(new)" in words, path
        assert not target.exists(), path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block, encoding="utf-8")
        return
    lines = [(line[:1], line[1:]) for line in block.splitlines()]
    before, after = ("".join(f"{text}\n" for mark, text in lines if mark != drop) for drop in "+-")
    text = target.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} has not once:\n{before}"
    target.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with all changes of the page."""
    tree = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "unstir", tree / "unstir", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for _, blocks in sections():
        for block in blocks:
            apply(tree, *block)
    (tree / "tests" / "test_small_changes.py").write_text(SMALL_CHANGES, encoding="utf-8")
    return tree


def test_every_change_touches_as_many_files_as_the_table_says():
    counted = {}
    for title, blocks in sections():
        files = {path for path, words, _, _ in blocks if "the line that uses it" not in words}
        counted[title.lower().replace(" ", "-")] = len(files)
    table = {
        anchor: int(now)
        for anchor, now in re.findall(r"^\| \[[^]]*\]\(#([\w-]+)\) \|[^|]*\| (\d+)[^|]*\|$", PAGE, re.MULTILINE)
    }
    assert counted == table
    targets = {"a-sampler": 1, "a-setting": 1, "a-metric": 2, "a-paradigm-with-two-optimisers": 4, "a-latent-model": 5}
    assert all(counted[change] <= most for change, most in targets.items())


@pytest.mark.parametrize(
    ("chosen", "passed"),
    [
        pytest.param("not latent and not metric", 3, id="sampler, setting, GAN"),
        pytest.param("latent or metric", 3, id="latent, metric", marks=pytest.mark.slow),
    ],
)
def test_what_the_page_says_runs(extended, chosen, passed):
    environment = {**os.environ, "PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", chosen]
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert f"{passed} passed" in done.stdout


def test_the_code_of_the_page_is_clean(extended):
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if not Path(ruff).exists():
        pytest.skip("there is no ruff")
    for arguments in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        done = subprocess.run([ruff, *arguments, "unstir", "tests"], cwd=extended, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
