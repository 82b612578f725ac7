"""Startup time: `import torch`, `unstir --help`, and `unstir generate` from the shell to the written file.

    python -m benchmarks.startup [--model MODEL] [--rounds 7]

The commands are measured alternately, so that other load on the machine affects all of them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str]) -> float:
    """Wall time of one process; exits with its error if it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model file or run folder; default: the default model")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        unstir = [sys.executable, "-m", "unstir"]
        generate = [*unstir, "generate", "red apple, fluent 3d", "--seed", "1", "--out", out]
        if arguments.model is not None:
            generate += ["--model", str(arguments.model)]
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "unstir --help": [*unstir, "--help"],
            "unstir generate": generate,
            "… --steps 4": [*generate, "--steps", "4"],
        }
        for command in commands.values():
            seconds(command)  # fills the file cache and writes the .pyc files
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        low, high = min(times[name]), max(times[name])
        ratio = median / medians["import torch"]
        print(f"{name:16} {median:6.2f} s  ({low:.2f} to {high:.2f})  {ratio:5.2f} × import torch")


if __name__ == "__main__":
    main()
