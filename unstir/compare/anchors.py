"""What the figures of a comparison are held against: real pictures, copies, and the simplest model of all."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.diffusion.philox import keyed_generator

LEAST_FOR_A_CAPTION = 40
"""Training pictures of a caption, from which on it has a distribution of its own in `ProbabilisticPca`."""

COMPONENTS, MOST_ROWS = 32, 2_000
"""Of a Gaussian, and the training pictures that it is fitted to."""


def copied(train: Pictures, captions: Sequence[str], seed: int) -> NDArray[np.uint8]:
    """For each caption a training picture that has it: what a model that only copies would draw."""
    rows = _rows_of_captions(train)
    rng = keyed_generator(seed, 0)
    return np.stack([train.pixels[int(rng.choice(rows[caption]))] for caption in captions])


def _rows_of_captions(train: Pictures) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, ways in enumerate(train.captions):
        rows[ways[0]].append(row)
    return rows


class Gaussian:
    """A Gaussian of low rank with equal noise in all other directions.

    Its maximum likelihood from rows (N, D). Source: Tipping and Bishop 1999, eq. 3.8 and 3.9.
    """

    def __init__(self, rows: NDArray[np.float64], components: int = COMPONENTS) -> None:
        count, dimension = rows.shape
        kept = max(0, min(components, count - 1, dimension - 1))
        self.mean = rows.mean(0)
        _, values, vectors = np.linalg.svd((rows - self.mean) / math.sqrt(count), full_matrices=False)
        variance = np.zeros(dimension)
        variance[: len(values)] = np.square(values)
        # Pixels that never change would have no variance, and a density without bound: a quarter of a level at least.
        self.noise = max(float(variance[kept:].mean()), (0.25 * 2 / 255) ** 2)
        self.axes = vectors[:kept]
        self.variance = np.maximum(variance[:kept], self.noise)

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """One row, (D,)."""
        inside = rng.standard_normal(len(self.axes)) * np.sqrt(self.variance - self.noise)
        row: NDArray[np.float64] = self.mean + inside @ self.axes
        return row + math.sqrt(self.noise) * rng.standard_normal(len(self.mean))

    def log_density(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """In nats, (N,)."""
        dimension, kept = len(self.mean), len(self.axes)
        centred = rows - self.mean
        along = centred @ self.axes.T
        rest = np.square(centred).sum(1) - np.square(along).sum(1)
        quadratic = (np.square(along) / self.variance).sum(1) + rest / self.noise
        logdet = np.log(self.variance).sum() + (dimension - kept) * math.log(self.noise)
        found: NDArray[np.float64] = -0.5 * (quadratic + logdet + dimension * math.log(2 * math.pi))
        return found


class ProbabilisticPca:
    """One Gaussian for each frequent caption, and one for all others; of pixels in [-1, 1], straight alpha."""

    def __init__(self, train: Pictures) -> None:
        self.shape = train.pixels.shape[1:]
        spread = np.linspace(0, len(train) - 1, min(len(train), MOST_ROWS)).astype(int)
        self.every = Gaussian(_scaled(train.pixels[spread]))
        self.of_caption = {
            caption: Gaussian(_scaled(train.pixels[where[:MOST_ROWS]]))
            for caption, where in _rows_of_captions(train).items()
            if len(where) >= LEAST_FOR_A_CAPTION
        }

    def draw(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """(N, H, W, C)."""
        rows = [
            self.of_caption.get(caption, self.every).draw(keyed_generator(seed, 1))
            for caption, seed in zip(captions, seeds, strict=True)
        ]
        pixels = np.clip(np.round((np.stack(rows) + 1) * 127.5), 0, 255).astype(np.uint8)
        return pixels.reshape(-1, *self.shape)

    def bits(self, pixels: NDArray[np.uint8], captions: Sequence[str], seed: int = 0) -> NDArray[np.float64]:
        """An upper bound on the bits per stored value of each picture, by uniform dequantisation."""
        rows = _scaled(pixels + keyed_generator(seed, 2).random(pixels.shape) - 0.5)
        density = np.array(
            [
                self.of_caption.get(caption, self.every).log_density(row[None])[0]
                for caption, row in zip(captions, rows, strict=True)
            ]
        )
        found: NDArray[np.float64] = -density / rows.shape[1] / math.log(2) + math.log2(127.5)
        return found


def independent_bits(train: Pictures, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Bits per stored value of each picture where every value has its own histogram, each level counted once more."""
    known = np.asarray(train.pixels).reshape(len(train), -1)
    rows = pixels.reshape(len(pixels), -1)
    bits = np.empty(rows.shape)
    for place in range(rows.shape[1]):
        counts = np.bincount(known[:, place], minlength=256) + 1
        bits[:, place] = -np.log2(counts[rows[:, place]] / counts.sum())
    found: NDArray[np.float64] = bits.mean(1)
    return found


def _scaled(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    return pixels.reshape(len(pixels), -1).astype(np.float64) / 127.5 - 1
