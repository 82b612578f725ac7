"""Every kind of model is trained in all its stages by one command, and killed anywhere it ends in the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import unstir
from unstir.errors import UserError
from unstir.train.log import Log
from unstir.weights.model_file import load_model, notes_of

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_recipes import RECIPES

IN_STAGES = {
    "latent": "autoencoder",
    "vqvae": "autoencoder",
    "maskgit": "autoencoder",
    "unclip": "clip",
    "cascade": "clip",
}

DRIVER = """
import os, random, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch
import torch._dynamo  # the optimisers would import it, in every child anew
from tiny_recipes import RECIPES

torch.set_num_threads(1)

from unstir import recipes
from unstir.cli import main
from unstir.train.run import Run

data, root, kind = sys.argv[2], Path(sys.argv[3]), sys.argv[4]
recipes.recipe_table = lambda: RECIPES


def child(folder, steps):
    "One call of the command in a process of its own, killed after so many steps; None: not."
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        real, taken = Run.step, 0

        def step(run):
            nonlocal taken
            taken += 1
            if steps is not None and taken > steps:
                os.kill(os.getpid(), signal.SIGKILL)
            real(run)

        Run.step = step
        os._exit(main(["train", data, "--recipe", kind, "--run", str(folder)]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


assert child(root / "whole" / "run", None) == 0
for steps in (0, 5, 4, 9, 2, 0, 7):  # in the first stage, between the stages, and in the last one
    code = child(root / "killed" / "run", steps)
    assert code in (-signal.SIGKILL, 0), code
assert child(root / "killed" / "run", None) == 0
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixteen small captioned pictures."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        colour, shape = ("red", "blue")[i % 2], ("disc", "box")[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text(f"a {colour} {shape}")
    return folder


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ("latent", "vae") else pytest.mark.slow) for kind in RECIPES]
)
def test_killed_anywhere_it_ends_in_the_same_bits(tmp_path, pictures, kind):
    tests = Path(__file__).parent.parent
    (tmp_path / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, tmp_path / "driver.py", tests, pictures, tmp_path, kind],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    output = (tmp_path / "output.txt").read_text()
    assert done.returncode == 0, done.stderr + output
    assert "Traceback" not in output
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    assert files_of(whole) == files_of(killed)
    for name in files_of(whole):
        if name.endswith("log.jsonl"):
            for line, other in zip(*(Log.lines((run / name).parent) for run in (whole, killed)), strict=True):
                assert {**line, "rate": 0} == {**other, "rate": 0}
        elif not name.endswith(".json"):
            assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    if kind in IN_STAGES:
        assert (whole / "stages" / IN_STAGES[kind] / "model.safetensors").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures):
    """A run of every kind that has stages, as it is asked for."""
    runs = {}

    def run_of(kind):
        if kind not in runs:
            runs[kind] = tmp_path_factory.mktemp("runs") / kind
            unstir.train(pictures, runs[kind], recipe=RECIPES[kind]())
        return runs[kind]

    return run_of


def test_one_file_holds_all_and_tells_of_its_stages(trained, tmp_path):
    run = trained("latent")
    copy = tmp_path / "alone.safetensors"
    copy.write_bytes((run / "model.safetensors").read_bytes())
    pictures = unstir.load(copy).draw("a red disc", n=2, seed=1)
    assert pictures[0].size == (8, 8)
    assert pictures[0].tobytes() == unstir.load(run).draw("a red disc", seed=1)[0].tobytes()
    assert notes_of(copy)["stages"]["autoencoder"]["images_seen"] == 96
    # The autoencoder is that of its stage, to the bit of what the file stores.
    whole, stage = (load_file(folder / "model.safetensors") for folder in (run, run / "stages" / "autoencoder"))
    assert all((whole[f"codec.{name}"] == value).all() for name, value in stage.items())


def test_a_stage_can_be_given(trained, pictures, tmp_path):
    given = trained("latent") / "stages" / "autoencoder"
    unstir.train(pictures, tmp_path / "r", recipe=RECIPES["latent"](), stages={"autoencoder": given})
    assert not (tmp_path / "r" / "stages").exists()
    assert load_model(tmp_path / "r").kind.name == "latent"
    plan = json.loads((tmp_path / "r" / "stages.json").read_text())
    assert plan["trained"] == []
    with pytest.raises(UserError, match="it is an autoencoder, and a CLIP is needed"):
        unstir.train(pictures, tmp_path / "s", recipe=RECIPES["unclip"](), stages={"clip": given})
    with pytest.raises(UserError, match="it is an autoencoder, and a CLIP is needed"):
        unstir.train(pictures, tmp_path / "v", recipe=RECIPES["latent"](), stages={"clip": given})
    with pytest.raises(UserError, match="is not built on a model --autoencoder; those that can be given: --clip"):
        unstir.train(pictures, tmp_path / "t", recipe=RECIPES["unclip"](), stages={"autoencoder": given})
    with pytest.raises(UserError, match="--clip has no use where --autoencoder is given"):
        unstir.train(pictures, tmp_path / "w", recipe=RECIPES["latent"](), stages={"clip": given, "autoencoder": given})
    with pytest.raises(UserError, match="can be given: none"):
        unstir.train(pictures, tmp_path / "u", recipe=RECIPES["vae"](), stages={"clip": given})
    assert not any((tmp_path / name).exists() for name in "stuvw")  # refused before anything is written


def test_a_clip_gives_the_autoencoder_a_perceptual_distance(trained, pictures, tmp_path):
    from unstir.training import Stopped

    clip = tmp_path / "clip.safetensors"
    clip.write_bytes((trained("unclip") / "stages" / "clip" / "model.safetensors").read_bytes())
    folder, steps = tmp_path / "r", iter(range(100))
    with pytest.raises(Stopped, match="stage 1 of 2"):
        unstir.train(pictures, folder, recipe=RECIPES["latent"](), stages={"clip": clip}, stop=lambda: next(steps) == 3)
    stage = folder / "stages" / "autoencoder"
    assert json.loads((stage / "run.json").read_text())["options"]["perceptual"] > 0
    unstir.train(pictures, folder, recipe=RECIPES["latent"](), stages={"clip": clip})
    assert notes_of(folder)["stages"]["clip"] == {"name": "clip.safetensors"}
    alone = tmp_path / "alone"
    unstir.train(pictures, alone, recipe=RECIPES["latent"]().stages["autoencoder"], stages={"clip": clip})
    without = trained("latent") / "stages" / "autoencoder"
    found = [load_file(run / "model.safetensors") for run in (alone, stage, without)]
    assert all((found[0][name] == value).all() for name, value in found[1].items())
    assert any((found[2][name] != value).any() for name, value in found[1].items())


def test_stopped_in_a_stage_and_continued_with_another_request(pictures, tmp_path):
    from unstir.training import Stopped

    with pytest.raises(Stopped, match="stage 1 of 2"):
        unstir.train(pictures, tmp_path / "r", recipe=RECIPES["latent"](), stop=lambda: True)
    assert not (tmp_path / "r" / "run.json").exists()
    with pytest.raises(UserError, match="begun with another kind"):
        unstir.train(pictures, tmp_path / "r", recipe=RECIPES["vqvae"]())
    unstir.train(pictures, tmp_path / "r", recipe=RECIPES["latent"](), seed=5)  # ignored, as in every run that resumes
    assert (tmp_path / "r" / "model.safetensors").exists()
    for folder in (tmp_path / "r", tmp_path / "r" / "stages" / "autoencoder"):
        assert json.loads((folder / "run.json").read_text())["train"]["seed"] == 0


@pytest.mark.parametrize("kind", [kind for kind in RECIPES if kind not in ("autoencoder", "classifier")])
def test_every_kind_is_drawn_evaluated_and_explored(trained, pictures, tmp_path, kind):
    run = trained(kind)
    model = unstir.load(run)
    one, other = model.draw("a red disc", n=2, seed=1)
    assert one.size == (8, 8)
    assert other.tobytes() == model.draw("a red disc", seed=2)[0].tobytes()
    one.save(tmp_path / "one.png")
    frames = list(model.steps("a red disc", seed=1))
    assert frames[-1].picture[0].tobytes() == one.tobytes()
    report = unstir.evaluate(run, pictures, out=tmp_path / "report", n=8, features="raw", clip=None)
    titles = [table["title"] for table in report["tables"]]
    assert ("Reconstruction" in titles) == (kind in ("latent", "vqvae", "maskgit"))
    assert (tmp_path / "report" / "report.html").exists()


def test_an_autoencoder_is_evaluated_by_its_reconstruction(trained, pictures, tmp_path):
    report = unstir.evaluate(trained("autoencoder"), pictures, out=tmp_path / "report", features="raw")
    assert [table["title"] for table in report["tables"]] == ["Reconstruction"]
    assert {row["name"] for row in report["tables"][0]["rows"]} >= {"PSNR over white, dB"}
    assert report["settings"]["pictures"]["held out"] == 4
    with pytest.raises(UserError, match="draws nothing and has no setting steps"):
        unstir.evaluate(trained("autoencoder"), pictures, out=tmp_path / "other", features="raw", steps=3)
