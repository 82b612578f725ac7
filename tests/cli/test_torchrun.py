"""Several processes that train one model, started by the very commands that the help and docs/distributed.md give."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.run import parse_args

from unstir.cli import main
from unstir.train import checkpoint
from unstir.weights.model_file import load_model

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def help_of(command, capsys, monkeypatch):
    """The help of a command, on one line."""
    monkeypatch.setenv("COLUMNS", "300")
    assert main([command, "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


def torchrun_in(text):
    """The torchrun commands in a text, as lists of words."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(r"torchrun --[^\n`]+", joined)]


@pytest.fixture
def commands(capsys, monkeypatch):
    """The command in the help of train and in that of distill."""
    return {name: torchrun_in(help_of(name, capsys, monkeypatch))[0] for name in ("train", "distill")}


def test_torchrun_takes_the_commands_of_the_help(commands):
    for name, (_, *words) in commands.items():
        parsed = parse_args(words)
        assert (parsed.module, parsed.training_script, parsed.training_script_args[0]) == (True, "unstir", name)
        assert "--run" in parsed.training_script_args


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_torchrun_takes_the_commands_of_the_pages(page):
    for _, *words in torchrun_in(page.read_text(encoding="utf-8")):
        parsed = parse_args(words)
        assert (parsed.module, parsed.training_script) == (True, "unstir"), words
        assert parsed.training_script_args[0] in ("train", "distill")


def test_the_page_has_commands_for_one_machine_and_for_several():
    one, *several = torchrun_in((ROOT / "docs" / "distributed.md").read_text(encoding="utf-8"))
    assert "--nnodes" not in one
    assert any("--nnodes" in words for words in several)


def test_without_the_dashes_torchrun_takes_run_for_its_own(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--nproc-per-node", "2", "-m", "unstir", "train", "DATA", "--run", "RUN"])
    assert "ambiguous option: --run" in capsys.readouterr().err


def process(words, **names):
    """Start a torchrun command on this machine's processors. names: what stands for the words in capitals."""
    words = [str(names.get(word, word)) for word in words[1:]]
    call = [sys.executable, "-m", "torch.distributed.run", *words, "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_of(started):
    """The standard error of a process that has ended well."""
    _, said = started.communicate(timeout=900)
    assert started.returncode == 0, said
    return said


@pytest.mark.slow
def test_the_commands_of_the_help_run(commands, photos, tmp_path):
    run, few = tmp_path / "run", tmp_path / "few"
    said = end_of(process([*commands["train"], "--budget", "10s"], DATA=photos, RUN=run))
    assert said.count("done: ") == 1
    assert load_model(run).notes["images_seen"] > 0
    resumed = end_of(process(commands["train"], DATA=photos, RUN=run))
    assert "resuming the run" in resumed
    end_of(process([*commands["distill"], "--budget", "10s"], DATA=run, MODEL=run, RUN=few))
    assert checkpoint.load_checkpoint(few) is not None
    assert load_model(few).settings.steps == 4


@pytest.mark.slow
def test_the_command_for_several_machines_runs(photos, tmp_path):
    """Two machines with one process each, both of them this one."""
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    command = next(words for words in torchrun_in(page) if "--nnodes" in words)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for option, value in (("--nproc-per-node", "1"), ("--rdzv-endpoint", f"127.0.0.1:{port}")):
        command[command.index(option) + 1] = value
    data = next(word for word in command if word.startswith("/"))
    run = command[command.index("--run") + 1]
    names = {data: photos, run: tmp_path / "run"}
    said = "".join(map(end_of, [process([*command, "--budget", "10s"], **names) for _ in range(2)]))
    assert said.count("done: ") == 1
    assert load_model(tmp_path / "run").notes["images_seen"] > 0
