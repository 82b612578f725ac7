"""docs/python.md and docs/python.ipynb, run as they stand, each in one process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))

shipped = pytest.mark.skipif(
    not (DEFAULT.exists() and DEFAULT_CLIP.exists()), reason="no default models in this checkout"
)


def run(code, cwd):
    """What the code prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sixteen_pictures(folder):
    """Sixteen of the pictures that examples/make_pictures.py draws."""
    subprocess.run([sys.executable, ROOT / "examples" / "make_pictures.py", folder], check=True, capture_output=True)
    captions = sorted(folder.glob("*.txt"))
    for caption in captions[16:]:
        caption.unlink()
    kept = {caption.stem for caption in captions[:16]}
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()


@shipped
@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path):
    sixteen_pictures(tmp_path / "pictures")
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    assert len(blocks) == 8
    said = run("\n".join(blocks), tmp_path)
    assert "steps must be 1 to 10000, got 0" in said
    assert "4 of 4 at" in said
    assert "('blue fish, twemoji', 8)" in said
    for path in ("apple.png", "fish.png", "runs/mine/model.safetensors", "evaluation/mine/report.html"):
        assert (tmp_path / path).exists(), path


@shipped
@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    code = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert 8 <= len(NOTEBOOK["cells"]) <= 14
    run("\n\n".join(code) + "\nassert 'tables' in report and len(grid) == 4", tmp_path)
    assert (tmp_path / "apple.png").exists()
    assert (tmp_path / "runs" / "digits" / "model.safetensors").exists()


def test_the_notebook_is_kept_without_outputs():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])


def test_every_argument_is_on_the_page():
    import inspect

    import unstir
    from unstir.evaluation import evaluate
    from unstir.model import Model
    from unstir.training import train

    for function in (unstir.load, unstir.load_clip, Model.draw, train, evaluate):
        missing = [
            name
            for name in inspect.signature(function).parameters
            if name not in ("self", "settings", "model", "data", "run", "reporter") and f"`{name}`" not in PAGE
        ]
        assert missing == [], function
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    assert max(map(len, PAGE.splitlines())) <= 105
