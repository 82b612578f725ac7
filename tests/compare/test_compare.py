"""A whole comparison: of models trained in this process in a moment, and by the command as a newcomer types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unstir
from unstir import comparison
from unstir.compare.training import Cost, TrainingStopped
from unstir.errors import UserError

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_recipes import RECIPES


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eighty small captioned pictures."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        colour, shape = ("red", "blue")[i % 2], ("disc", "box")[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text(f"a {colour} {shape}")
    return folder


@pytest.fixture
def in_a_moment(monkeypatch):
    """Training is that of the tiny recipes. Returns the folders that were trained."""
    calls = []

    def trained(data, kind, run, budget, seed, device):
        if (run / "model.safetensors").exists():
            return Cost(1.0, 1)
        if kind == "stop":
            raise TrainingStopped
        recipe = RECIPES["unclip"]().stages["clip"] if kind == "clip" else RECIPES[kind]()
        unstir.train(data.train, run, recipe=recipe, seed=seed)
        calls.append(run.name)
        return Cost(1.0, 1)

    monkeypatch.setattr(comparison, "trained", trained)
    return calls


def test_everything_is_measured_once_and_written(pictures, tmp_path, in_a_moment):
    folder = tmp_path / "c"
    asked = {"kinds": ["vae", "latent"], "budget": 1, "n": 16, "pixels": 8}
    found = unstir.compare(pictures, folder, **asked)
    assert in_a_moment == ["clip", "classifier", "vae-0", "latent-0"]
    content = json.loads((folder / "compare.json").read_text())
    assert content["results"]["kinds"].keys() == {"vae", "latent"}
    anchors = content["results"]["anchors"]
    assert {"real, held out", "training pictures, copied", "probabilistic PCA", "autoencoder of latent"} <= set(anchors)
    one = content["results"]["kinds"]["vae"][0]
    assert one["likelihood"]["bits"] > 0
    assert content["results"]["kinds"]["latent"][0]["likelihood"] is None
    assert one["curve"] == []
    assert [point["steps"] for point in content["results"]["kinds"]["latent"][0]["curve"]][:2] == [2, 4]
    assert one["evaluators"]["CLIP"]["FD at infinity"] > 0
    assert anchors["training pictures, copied"]["copies"] == 1
    html = (folder / "compare.html").read_text()
    assert "a VAE" in html or "vae" in html
    assert "<script" not in html
    # Again: nothing is trained or measured anew, and the files are the same.
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    again = unstir.compare(pictures, folder, **asked)
    assert len(in_a_moment) == 4
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    assert again["results"]["kinds"]["vae"] == found["results"]["kinds"]["vae"]
    # A kind and a seed more.
    more = unstir.compare(pictures, folder, **(asked | {"kinds": ["vae"], "seeds": 2}))
    assert in_a_moment[4:] == ["vae-1"]
    assert len(more["results"]["kinds"]["vae"]) == 2
    assert "±" in (folder / "compare.html").read_text()


def test_what_cannot_be_compared(pictures, tmp_path, in_a_moment):
    with pytest.raises(UserError, match="no kind 'clip' to compare; there are: diffusion"):
        unstir.compare(pictures, tmp_path / "a", kinds=["clip"])
    with pytest.raises(UserError, match="n must be 16 or more"):
        unstir.compare(pictures, tmp_path / "a", n=3)
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "theirs.txt").write_text("x")
    with pytest.raises(UserError, match="holds no comparison"):
        unstir.compare(pictures, tmp_path / "b")
    unstir.compare(pictures, tmp_path / "c", kinds=["vae"], budget=1, n=16, pixels=8)
    with pytest.raises(UserError, match="another budget"):
        unstir.compare(pictures, tmp_path / "c", kinds=["vae"], budget=2, n=16, pixels=8)
    few = tmp_path / "few"
    few.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(few / f"{name}.png")
        (few / f"{name}.txt").write_text(name)
    with pytest.raises(UserError, match="needs 64 pictures"):
        unstir.compare(few, tmp_path / "d", budget=1, pixels=8)


@pytest.mark.slow
def test_the_command_from_data_to_page(tmp_path):
    command = [sys.executable, "-m", "unstir", "compare", "digits", "--out", "c", "--kinds", "vae", "--budget", "10s"]
    done = subprocess.run(
        [*command, "-n", "32"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert content["results"]["kinds"]["vae"][0]["training"]["memory"] > 1e8
    assert (tmp_path / "c" / "compare.html").exists()
