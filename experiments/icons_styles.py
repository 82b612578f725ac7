"""Does the default model draw the style that it is asked for? A small classifier of styles, independent of the CLIP.

It is trained on the training drawings of the model. Its accuracy on real held-out drawings is the upper limit of what
it can measure on drawn ones.
Run: python -m experiments.icons_styles DATA RUN [-n 400]
DATA: the shards of unstir/recipes/icons.py. The same command resumes a run that was stopped.
Reached: see docs/log.md (2026-11-20).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.drawing import draw_batches
from unstir.data.order import order
from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.data.sources import open_source
from unstir.evaluate.statistics.wilson import wilson_interval
from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.pixels import to_model
from unstir.nn.conv import Conv
from unstir.nn.init import init_zero, initialise
from unstir.recipes.icons_data import is_flag, split_cells
from unstir.train.batches import BatchSource
from unstir.train.config import TrainConfig
from unstir.train.kinds import Training, register
from unstir.train.loop import training_loop
from unstir.train.run import Run
from unstir.weights.model_file import DEFAULT, load_model

SIDE, BATCH = 64, 64
WIDTHS = (32, 64, 128)

KIND = "style classifier"
register(KIND, Training())


class StyleBatch(NamedTuple):
    """A training batch.

    x0: (B, 4, S, S) in [-1, 1].
    style: (B,) int64.
    """

    x0: Tensor
    style: Tensor


class ResidualBlock(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), Conv(width, width, 3)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), Conv(width, width, 3)
        init_zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))  # type: ignore[no-any-return]


class StyleClassifier(nn.Module):
    """A `Trainable`: pictures (B, 4, S, S) in [-1, 1] -> logits (B, styles)."""

    def __init__(self, styles: int) -> None:
        super().__init__()
        self.stem = Conv(16, WIDTHS[0], 3)
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in WIDTHS)
        self.narrow = nn.ModuleList(Conv(4 * a, b, 1) for a, b in pairwise(WIDTHS))
        self.out = nn.Linear(2 * WIDTHS[-1], styles)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(x, 2))
        for k, block in enumerate(self.blocks):
            if k:
                x = self.narrow[k - 1](F.pixel_unshuffle(x, 2))
            x = block(x)
        out: Tensor = self.out(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))
        return out

    @property
    def device(self) -> torch.device:
        return self.out.weight.device

    def parts(self) -> dict[str, nn.Module]:
        return {"main": self}

    def exported(self) -> nn.Module:
        return self

    def compile_loss(self) -> None:
        """Do nothing: the network is too small for compilation to pay off."""

    def losses(self, batch: StyleBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        x = jitter(batch.x0, torch.rand(JITTER_PARAMETERS, len(batch.x0), generator=rng), (0.9, 1.1), 0.06, 3.0)
        mirrored = torch.rand(len(x), generator=rng) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        yield "main", F.cross_entropy(self(x).float(), batch.style, label_smoothing=0.05)


@torch.no_grad()
def guesses(classifier: StyleClassifier, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The predicted style of each picture, (N,).

    pixels: (N, S, S, 4).
    """
    parts = [classifier(to_model(torch.from_numpy(np.array(pixels[k : k + 256])))) for k in range(0, len(pixels), 256)]
    found: npt.NDArray[np.int64] = torch.cat(parts).argmax(1).numpy()
    return found


def print_accuracy(
    names: Sequence[str], columns: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> None:
    """Print the accuracy for each style, and overall.

    names: of the styles.
    columns: by name, (predicted, true).
    """
    print("| style | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for k, name in enumerate(names):
        own = [got[asked == k] == k for got, asked in columns.values()]
        cells = [f"{one.mean():.0%} of {len(one)}" if len(one) else "" for one in own]
        print(f"| {name} | " + " | ".join(cells) + " |")
    overall = [wilson_interval(int((got == asked).sum()), len(asked)) for got, asked in columns.values()]
    print("| all | " + " | ".join(f"{one.value:.1%} ({one.low:.1%} – {one.high:.1%})" for one in overall) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how often the default model draws the style asked for.")
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=400, help="pictures to draw, half of them of held-out captions")
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--images", type=int, default=160_000)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)

    pictures, _ = pack(open_source(arguments.data), SIDE, 4)
    names = sorted({str(meta["phrase"]) for meta in pictures.meta})
    style = np.array([names.index(str(meta["phrase"])) for meta in pictures.meta])
    trained, held = split_cells(pictures.meta)
    trained = np.array([row for row in trained if not is_flag(pictures.meta[row])])
    config = TrainConfig(
        images=arguments.images, batch_size=BATCH, muon_lr=0.01, adamw_lr=2e-3, weight_decay=0.01, warmup=6_400,
        cooldown=0.7, log_every=6_400, save_every=12_800, sample_every=10**9,
    )  # fmt: skip

    def batch(images_seen: int) -> StyleBatch:
        rows = trained[order(len(trained), 0, images_seen, BATCH)]
        x0 = to_model(torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows])))
        return StyleBatch(x0, torch.from_numpy(style[rows]))

    classifier = StyleClassifier(len(names))
    initialise(classifier, 0)
    nothing = Pictures(pictures.pixels[:1], pictures.captions[:1], pictures.keys[:1], pictures.meta[:1])
    run = Run(arguments.run, classifier, nothing, config, BatchSource(batch), KIND)
    for now in training_loop(run):
        if now.event == "log":
            print(f"{now.images_seen} of {now.images}: {now.loss:.3f}, {now.rate:.0f}/s, {now.seconds_left:.0f} s left")
    columns = {}
    with run.evaluating() as trained_model:
        columns["real, held out"] = guesses(trained_model, pictures.pixels[held]), style[held]
        if arguments.n:
            loaded = load_model(arguments.model)
            settings = replace(loaded.settings, steps=arguments.steps)
            for name, rows in (("drawn, held out", held), ("drawn, seen", trained)):
                asked = np.random.default_rng(0).permutation(rows)[: arguments.n // 2]
                captions = [pictures.captions[row][0] for row in asked]
                made = draw_batches(loaded.model, captions, range(len(asked)), settings)
                columns[name] = guesses(trained_model, made), style[asked]
                columns[name.replace("drawn", "the same, real")] = (
                    guesses(trained_model, pictures.pixels[asked]),
                    style[asked],
                )
    print_accuracy(names, columns)


if __name__ == "__main__":
    main()
