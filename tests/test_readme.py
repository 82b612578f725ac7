"""The README's own commands, run as they stand there (a shorter budget for the training one)."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from unstir.cli import main
from unstir.weights.model_file import DEFAULT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(".venv/")]


def test_pictures_of_the_readme_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+?)\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert targets
    assert missing == []


@pytest.mark.skipif(not DEFAULT.exists(), reason="no default model in this checkout")
def test_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["pixels"].shape[-1] == 4  # type: ignore[attr-defined]
    assert len(capsys.readouterr().out.splitlines()) == 24


@pytest.mark.skipif(not DEFAULT.exists(), reason="no default model in this checkout")
def test_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for command in commands():
        if "--recipe" in command:  # minutes: tests/train and the recipes' own scores stand for these
            continue
        if command[0] == ".venv/bin/python":
            subprocess.run([sys.executable, ROOT / command[1], *command[2:]], check=True)
        elif command[0] == ".venv/bin/unstir":
            # Where a file of the checkout is named, the commands run elsewhere.
            arguments = ["6s" if word in ("3m", "5m") else word for word in command[1:]]
            assert main(arguments) == 0, command
        else:
            continue
        ran += 1
    assert ran >= 6
    assert (tmp_path / "out" / "sheet.png").exists()
    assert (tmp_path / "runs" / "mine" / "model.safetensors").exists()
