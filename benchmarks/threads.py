"""How OpenMP threads wait: as unstir chooses, as torch does by default, and asleep; idle and beside a busy process.

    python -m benchmarks.threads [--rounds 7] [--seconds 6] [--conditions idle equal nice5] [--all]

Two tasks: a picture of the default model (24 steps), and a training step of a small U-Net on the pictures of
examples/make_pictures.py. Three conditions: an idle machine; beside a process that keeps one core busy, at the same
priority; the same at nice 5. Every measurement is a process of its own; the contestants take turns, round after round.

Peers: on the idle machine torch's default, beside others OMP_WAIT_POLICY=passive, which is the best there (`--all`: all
three everywhere; the default then takes up to a minute a picture). Ratios are medians over the rounds of ours / theirs.
Goals: 1.05 idle, 1.3 beside others. For the idle condition only units count during which other processes used less than
a tenth of a core; where a round has none, the machine is not idle, and the benchmark says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unstir.threads import NUMBER_VARIABLES, SYSTEM_LOAD, busy_seconds, chosen_waiting, configure_threads, usable_cpus

ROOT = Path(__file__).parent.parent
CONTESTANTS: dict[str, dict[str, str]] = {"unstir": {}, "default": {}, "passive": {"OMP_WAIT_POLICY": "passive"}}
CONDITIONS = {"idle": "default", "equal": "passive", "nice5": "passive"}
"""And the peer in each."""
GOALS = {"idle": 1.05, "equal": 1.3, "nice5": 1.3}
UNITS = {"picture": "s a picture", "training": "s a training step"}
QUIET = 0.1
"""Cores that others may use on an idle machine."""

LEAST = 3
"""Units of a measurement, however long they take."""


# In the measuring process


def picture(_: Path) -> Callable[[], object]:
    """Draws one picture of the default model."""
    from unstir.models.generative import final
    from unstir.weights.model_file import DEFAULT, load_model

    loaded = load_model(DEFAULT)
    settings = loaded.settings.changed({"steps": 24})
    return lambda: final(loaded.model.draw(["red apple, fluent 3d"], [1], settings))


def training(folder: Path) -> Callable[[], object]:
    """Takes one step of training, as `unstir train FOLDER/pictures --budget 10m` would."""
    from unstir.data.pictures import Pictures
    from unstir.models.description import describe
    from unstir.train import auto_recipe, run_folder
    from unstir.train.new_run import new_model
    from unstir.train.run_file import RunFile

    pictures = Pictures.load(folder / "packed")
    recipe = auto_recipe.recipe_for(pictures, "s")
    config = replace(recipe.train, images=1_000_000)
    model = new_model(recipe, pictures)
    plan = RunFile(str(folder / "pictures"), config, describe(model), {})
    return run_folder.run_of(folder / "run", plan, model, pictures).step


def measure(task: str, folder: Path, seconds: float) -> list[tuple[float, float]]:
    """Seconds of every unit, and how many cores other processes used meanwhile. Units for so many seconds."""
    unit = {"picture": picture, "training": training}[task](folder)
    unit()
    cpus = usable_cpus()
    rows: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rows) < LEAST:
        start, busy, own = time.perf_counter(), busy_seconds(SYSTEM_LOAD, cpus), time.process_time()
        unit()
        took = time.perf_counter() - start
        others = busy_seconds(SYSTEM_LOAD, cpus) - busy - (time.process_time() - own)
        rows.append((took, others / took))
    return rows


# In the process that compares


def rounds_of(
    task: str, condition: str, names: list[str], rounds: int, seconds: float, folder: Path
) -> dict[str, list[float]]:
    """Of each contestant the median of every round; on the idle machine of units that nobody disturbed, or NaN."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            rows = in_a_process(task, condition, name, seconds, folder)
            times = [took for took, others in rows if condition != "idle" or others < QUIET]
            found[name].append(statistics.median(times) if times else float("nan"))
    return found


def in_a_process(task: str, condition: str, name: str, seconds: float, folder: Path) -> list[tuple[float, float]]:
    """`measure` in a process that waits as this contestant does, with or without a busy neighbour."""
    command = [sys.executable, "-m", "benchmarks.threads", "--measure", task, "--seconds", str(seconds)]
    command += ["--folder", str(folder), "--contestant", name]
    if condition == "nice5":
        command = ["nice", "-n", "5", *command]
    chosen = {*NUMBER_VARIABLES, *chosen_waiting(os.environ)}
    kept = {key: value for key, value in os.environ.items() if key not in chosen}
    neighbour = None
    if condition != "idle":
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = subprocess.run(
            command, env=kept | CONTESTANTS[name], cwd=ROOT, capture_output=True, text=True, check=False
        )
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()
    if done.returncode:
        sys.exit(done.stderr)
    rows: list[tuple[float, float]] = json.loads(done.stdout)
    return rows


def compare(task: str, condition: str, all_contestants: bool, rounds: int, seconds: float, folder: Path) -> None:
    """Measure one task in one condition, and print a line for each contestant."""
    peer = CONDITIONS[condition]
    names = list(CONTESTANTS) if all_contestants else ["unstir", peer]
    found = rounds_of(task, condition, names, rounds, seconds, folder)
    disturbed = sum(any(values[i] != values[i] for values in found.values()) for i in range(rounds))
    whole = [i for i in range(rounds) if all(values[i] == values[i] for values in found.values())]
    if disturbed:
        print(f"{task:9} {condition:6} {disturbed} of {rounds} rounds were disturbed by other processes")
    if not whole:
        return
    for name, values in found.items():
        kept = [values[i] for i in whole]
        line = f"{task:9} {condition:6} {name:8}{statistics.median(kept):8.3f} {UNITS[task]}"
        print(f"{line}  ({min(kept):.3f} to {max(kept):.3f})")
    ratio = statistics.median(found["unstir"][i] / found[peer][i] for i in whole)
    verdict = "reached" if ratio <= GOALS[condition] else "missed"
    print(f"{task:9} {condition:6} unstir / {peer}: {ratio:.2f}, goal {GOALS[condition]:.2f}: {verdict}", flush=True)


def prepare(folder: Path) -> None:
    """The pictures to train on, at 32 pixels."""
    from unstir.data.built_in import open_data
    from unstir.data.packing import pack
    from unstir.data.pictures import Pictures

    subprocess.run([sys.executable, ROOT / "examples" / "make_pictures.py", folder / "pictures"], check=True)
    found = open_data(str(folder / "pictures"))
    assert not isinstance(found, Pictures)
    pack(found, 32, where=folder / "packed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--tasks", nargs="+", choices=list(UNITS), default=list(UNITS))
    parser.add_argument("--all", action="store_true", help="all contestants in every condition")
    for name in ("--measure", "--folder", "--contestant"):  # of the processes that are started here
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        if arguments.contestant == "unstir":
            configure_threads()
        print(json.dumps(measure(arguments.measure, Path(arguments.folder), arguments.seconds)))
        return
    print(f"{len(usable_cpus())} CPUs, medians of {arguments.rounds} rounds of {arguments.seconds:g} seconds")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for condition in arguments.conditions:
            for task in arguments.tasks:
                compare(task, condition, arguments.all, arguments.rounds, arguments.seconds, Path(folder))


if __name__ == "__main__":
    main()
