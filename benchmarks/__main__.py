"""Runs every benchmark, one after the other, each in its own process: python -m benchmarks."""

import subprocess
import sys

for name in ("sampler_overhead", "batching", "startup", "threads", "clip"):
    print(f"\n{name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
