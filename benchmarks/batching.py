"""The cost of exact drawing: sixteen pictures evaluated one by one, against all in one batch.

    python -m benchmarks.batching

Evaluated one by one, the bits of a picture do not depend on the others (docs/reproducible.md). Interleaved, medians.
"""

import statistics
import time
from collections.abc import Callable

import torch

from unstir.diffusion.denoiser import full_time
from unstir.weights.model_file import DEFAULT, load_model

PICTURES = 16


def main() -> None:
    loaded = load_model(DEFAULT)
    model = loaded.model
    cond = model.encode(["red apple, fluent 3d"] * PICTURES)
    one_by_one, together = (model.guided(loaded.settings, exact) for exact in (True, False))
    xt = torch.zeros(PICTURES, *model.shape)
    t = full_time(0.5, xt)

    def milliseconds(run: Callable[..., object]) -> float:
        start = time.perf_counter()
        run(xt, t, cond)
        return (time.perf_counter() - start) * 1000

    with torch.no_grad():
        rows = [(milliseconds(one_by_one), milliseconds(together)) for _ in range(12)][2:]
    one, batch = (statistics.median(column) for column in zip(*rows, strict=True))
    threads = torch.get_num_threads()
    print(f"{PICTURES} guided evaluations of the default model, {threads} threads, medians of {len(rows)}")
    print(f"one by one {one:.1f} ms, one batch {batch:.1f} ms: {one / batch:.2f} times")


if __name__ == "__main__":
    main()
