"""The cost of batch independence: sixteen pictures evaluated one by one, against all in one batch.

One by one, the bits of a picture do not depend on the others (docs/reproducible.md). Alternating runs, medians.
Run: python -m benchmarks.batching
"""

import statistics
import time
from collections.abc import Callable

import torch

from unstir.diffusion.denoiser import full_time
from unstir.diffusion.guidance import guide, one_by_one
from unstir.nn.text import TextEncoding
from unstir.weights.model_file import DEFAULT, load_model

PICTURES = 16


def main() -> None:
    loaded = load_model(DEFAULT)
    model = loaded.model
    cond = model.encode(["red apple, fluent 3d"]).repeat(PICTURES)
    one_null = model.encode([""])
    single = guide(model.denoiser(), one_null, 3.0, join=TextEncoding.join)
    batched = guide(model.denoiser(), one_null.repeat(PICTURES), 3.0, join=TextEncoding.join)
    alone = one_by_one(single, TextEncoding.one)
    xt = torch.zeros(PICTURES, *model.shape)
    t = full_time(0.5, xt)

    def clocked(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1000

    with torch.no_grad():
        rows = [(clocked(lambda: alone(xt, t, cond)), clocked(lambda: batched(xt, t, cond))) for _ in range(12)][2:]
    one, batch = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"{PICTURES} guided evaluations of the default model, {torch.get_num_threads()} threads, medians of {len(rows)}"
    )
    print(f"one by one {one:.1f} ms, one batch {batch:.1f} ms: {one / batch:.2f} times")


if __name__ == "__main__":
    main()
