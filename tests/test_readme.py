"""What the README says works: its pictures and links, its Python, and its commands.

The fast tests run every command but the recipes, with shorter budgets and fewer pictures. The slow ones run the very
commands; recipes take up to half an hour each, so these are started, stopped as by Ctrl-C, and resumed.
"""

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unstir.cli import app, main
from unstir.image.png import read_request
from unstir.weights.model_file import DEFAULT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("unstir/weights/*.md"))]

SHORTER = {("--budget", "3m"): "5s", ("--budget", "5m"): "5s", ("-n", "8"): "2"}
"""What the fast test changes in the commands: (option, value) -> another value."""

NOT_RUN = (".venv/bin/pip",)
"""Commands that need the network."""

needs_default_model = pytest.mark.skipif(not DEFAULT.exists(), reason="no default model in this checkout")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str = README) -> list[list[str]]:
    """The command lines of the text that are run in a clone."""
    lines = [line for block in blocks("sh", text) for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words and words[0].startswith(".venv/bin/")]


def without_recipes() -> list[list[str]]:
    return [words for words in commands() if words[0] not in NOT_RUN and "--recipe" not in words]


def recipes() -> list[list[str]]:
    return [words for words in commands() if "--recipe" in words]


def shorter(words: list[str]) -> list[str]:
    before = ["", *words]
    return [SHORTER.get((option, word), word) for option, word in zip(before, words, strict=False)]


def elsewhere(words: list[str]) -> list[str]:
    """The command for a process in another folder than the clone."""
    if words[0] == ".venv/bin/unstir":
        return [sys.executable, "-m", "unstir", *words[1:]]
    assert words[0] == ".venv/bin/python", words
    return [sys.executable, str(ROOT / words[1]), *words[2:]]


def results_are_there(folder: Path) -> None:
    assert (folder / "out" / "sheet.png").exists()
    assert (folder / "out" / "rocket-twemoji-1-again.png").exists()
    assert (folder / "found.png").exists()
    assert list(folder.glob("out/cat-face-noto-*.png"))
    assert list(folder.glob("out/a-blue-fish-*.png"))
    for run in ("mine", "further", "mine-in-four-steps"):
        assert (folder / "runs" / run / "model.safetensors").exists()
    assert (folder / "evaluation" / "mine" / "report.html").exists()


def test_pictures_and_pages_of_the_readme_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+?)\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert targets
    assert missing == []


def test_make_targets_of_the_readme_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"generate", "test", "test-slow", "lint", "bench"} <= named
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_unstir_command_of_the_docs_is_understood(page: Path) -> None:
    """Its options exist and have values of the right type; nothing is run."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks("sh", text) for line in block.replace("\\\n", " ").splitlines()]
    for line in lines:
        match = re.match(r"\s*(?:\.venv/bin/)?unstir (?!.*…)(.*)", line)
        if match:
            arguments = shlex.split(match[1], comments=True)
            function, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
            assert function.__module__.startswith("unstir.cli."), line


@needs_default_model
def test_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert [picture.seed for picture in names["pictures"]] == [1, 2, 3, 4]  # type: ignore[attr-defined]
    assert names["frame"].state.shape == (1, 64, 64, 4)  # type: ignore[attr-defined]
    assert len(capsys.readouterr().out.splitlines()) == 24
    assert read_request(tmp_path / "apple.png")["prompt"] == "red apple, fluent 3d"


@needs_default_model
def test_commands_of_the_readme_run_with_shorter_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in without_recipes():
        if words[0] == ".venv/bin/unstir":
            assert main(shorter(words)[1:]) == 0, words
        else:
            subprocess.run(elsewhere(words), check=True)
    results_are_there(tmp_path)


@pytest.mark.slow
@needs_default_model
def test_the_very_commands_of_the_readme_run(tmp_path: Path) -> None:
    for words in without_recipes():
        subprocess.run(elsewhere(words), check=True, cwd=tmp_path)
    results_are_there(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", recipes(), ids=lambda words: words[words.index("--recipe") + 1])
def test_recipes_of_the_readme_start_stop_and_resume(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / words[words.index("--run") + 1]
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(elsewhere(words), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and lines_of(run / "log.jsonl") <= seen:
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert "stopped after" in said
        assert lines_of(run / "log.jsonl") > seen
        seen = lines_of(run / "log.jsonl")
    assert (run / "model.safetensors").exists()


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
