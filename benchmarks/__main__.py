"""Every benchmark, one after the other, each in a process of its own: python -m benchmarks."""

import subprocess
import sys

for name in ("sampler_overhead", "batching", "startup", "clip"):
    print(f"\n{name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
