"""Training one model of a comparison: in a process of its own, so that its time and memory are its own."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unstir.compare.data import ComparedData
from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.train.log import Log
from unstir.train.run_folder import STAGES
from unstir.train.stages import is_finished, seconds_used
from unstir.weights.model_file import find_model, notes_of


@dataclass(frozen=True)
class Cost:
    """seconds: of all calls of the command together.  memory: bytes, the largest that it took."""

    seconds: float
    memory: int


class TrainingStopped(Exception):
    """The user has stopped the training; everything is saved."""


def trained(data: ComparedData, kind: str, run: Path, budget: float, seed: int, device: str) -> Cost:
    """Train a model in the folder `run`, or continue, until it is finished. Returns what it took.

    budget: seconds for all of its stages.
    TrainingStopped after Ctrl-C, UserError where training fails; its own messages are on the terminal.
    """
    before = cost_of(run)
    if is_finished(run):
        return before or Cost(sum(seconds_of_stages(run).values()), 0)
    before = before or Cost(0.0, 0)
    command = [sys.executable, "-m", "unstir", "train", str(data.train), "--kind", kind, "--run", str(run)]
    command += ["--seed", str(seed), "--device", device, "--budget", f"{budget:.0f}s"]
    began = time.monotonic()
    process = subprocess.Popen(command)
    stopped, memory = False, 0
    while process.returncode is None:
        try:
            memory = _waited(process)
        except KeyboardInterrupt:  # the process has got it too, and saves what there is
            stopped = True
    cost = Cost(before.seconds + time.monotonic() - began, max(before.memory, memory))
    if run.is_dir():
        write_atomic(_cost_path(run), json.dumps(asdict(cost)))
    code = process.returncode
    if stopped:
        raise TrainingStopped
    if code != 0:
        raise UserError(f"training {kind} has failed; to see why: {' '.join(command)}")
    if not is_finished(run):
        raise TrainingStopped
    return cost


def cost_of(run: Path) -> Cost | None:
    """What the training of a run took so far, where that is known."""
    try:
        return Cost(**json.loads(_cost_path(run).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _cost_path(run: Path) -> Path:
    return run.with_name(f"{run.name}.cost.json")


def _waited(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process. Returns the largest memory that it took, in bytes; 0 where the system does not tell."""
    if not hasattr(os, "wait4"):
        process.wait()
        return 0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def seconds_of_stages(run: Path) -> dict[str, float]:
    """Seconds of training of each stage by name, the last one under the name of the run's own kind."""
    found = {}
    stages = run / STAGES
    for folder in sorted(stages.iterdir()) if stages.is_dir() else []:
        found[folder.name] = seconds_used(folder)
    return {**found, "itself": seconds_used(run)}


def training_curve(run: Path) -> list[dict[str, float]]:
    """The log of the last stage: pictures seen and loss."""
    return [{"images": float(line["images"]), "loss": float(line["loss"])} for line in Log.lines(run) if "loss" in line]


def training_notes(run: Path) -> dict[str, Any]:
    """What the model file tells of its training."""
    notes = notes_of(find_model(run))
    return {key: notes[key] for key in ("images_seen", "seconds", "stages") if key in notes}
