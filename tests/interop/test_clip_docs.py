"""The program in docs/clip.md runs as it stands there."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from unstir.interop.clip import load_any_clip
from unstir.weights.model_file import DEFAULT_CLIP

DOCS = Path(__file__).parents[2] / "docs" / "clip.md"


@pytest.mark.skipif(not DEFAULT_CLIP.exists(), reason="no CLIP comes with this checkout")
def test_the_program_runs(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    for i in range(10):
        Image.new("RGB", (32, 32), (200, 25 * i, 0)).save(tmp_path / "pictures" / f"{i}.png")
        (tmp_path / "pictures" / f"{i}.txt").write_text(f"colour {i}")
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, str(DOCS), "exec"), {})
    assert out.getvalue().startswith("['colour ")
    assert load_any_clip(tmp_path / "clip.safetensors").name == "clip"
