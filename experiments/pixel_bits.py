"""How many bits do held-out digits need under models that say so? Beside: every pixel by its own histogram.

-log2 p of the 359 test digits given their plain caption, divided by the 192 stored values and by the 64 grey ones.
Run: python -m experiments.pixel_bits RUN [RUN …]
Reached: see docs/paradigms.md and docs/log.md.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.data.digits import digit_pictures
from unstir.models.generative import LikelihoodModel
from unstir.models.levels import stored_values, to_levels
from unstir.weights.model_file import load_model

LEVELS, CHANNELS = 17, 3


def grey_levels(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, 64), 0 … 16."""
    stored = stored_values(torch.from_numpy(pixels.copy()))
    return to_levels(stored, LEVELS, grey=True).flatten(1).numpy()


def bits_of_histograms(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits per grey value of each test picture, every pixel by its own histogram of the training pictures.

    One picture more of each level is counted (Laplace).  train, test: (N, D), (M, D) levels.  Returns (M,).
    """
    counts = (train[:, :, None] == np.arange(LEVELS)).sum(0) + 1.0
    logs = np.log2(counts / counts.sum(1, keepdims=True))
    bits: NDArray[np.float64] = -logs[np.arange(test.shape[1]), test].mean(1)
    return bits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    train, test = digit_pictures(part="train"), digit_pictures(part="test")

    def report(name: str, grey: NDArray[np.float64]) -> None:
        error = 1.96 * grey.std() / math.sqrt(len(grey))
        stored = grey.mean() / CHANNELS
        print(f"{name:20} {stored:.3f} bits per stored value, {grey.mean():.3f} ± {error:.3f} per grey value")

    report("uniform, 17 levels", np.full(len(test), math.log2(LEVELS)))
    report("independent pixels", bits_of_histograms(grey_levels(train.pixels), grey_levels(test.pixels)))
    for run in runs:
        loaded = load_model(run, dtype=torch.float32)
        model = loaded.model
        if not isinstance(model, LikelihoodModel):
            print(f"{loaded.kind.name} has no likelihood of pictures")
            continue
        captions = [ways[0] for ways in test.captions]
        bits = list(model.picture_bits(torch.from_numpy(test.pixels.copy()), captions, range(len(test))))
        report(loaded.kind.name, np.array(bits) * CHANNELS)


if __name__ == "__main__":
    main()
