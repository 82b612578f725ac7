"""Training the layout predictor of the default model on captions alone; all other weights stay as they are.

Takes minutes on one core; the same command resumes a run that was stopped.
Run: python -m experiments.icons_layout DATA RUN --out MODEL
DATA: the shards of unstir/recipes/icons.py.
Reached: see docs/log.md (2026-11-20).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.data.sources import open_source
from unstir.models.diffusion import Diffusion
from unstir.nn.init import initialise
from unstir.nn.layout import LayoutConfig, layout_loss
from unstir.recipes.icons import icons, training_captions
from unstir.recipes.icons_data import annotated, split_cells, weight
from unstir.scenes.batches import BatchPlanner, PlannedBatch, drawings_of
from unstir.scenes.planner import SceneMix
from unstir.train.batches import BatchSource
from unstir.train.config import TrainConfig
from unstir.train.kinds import Training, register
from unstir.train.loop import training_loop
from unstir.train.new_run import copy_weights, known_words
from unstir.train.run import Run
from unstir.weights.model_file import DEFAULT, few_step_weights, load_model, save_model

MIX = SceneMix(count=0.1, two=0.2, relation=0.45, background=0.15, typos=0.25)
SIDE = 64

KIND = "layout predictor"
register(KIND, Training())


class LayoutTraining(nn.Module):
    """A `Trainable` whose only part is the layout predictor of a model."""

    def __init__(self, model: Diffusion) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        assert model.layout is not None
        model.layout.requires_grad_(True)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def parts(self) -> dict[str, nn.Module]:
        assert self.model.layout is not None
        return {"main": self.model.layout}

    def exported(self) -> nn.Module:
        return self.model

    def compile_loss(self) -> None:
        """Do nothing: the network is too small for compilation to pay off."""

    def losses(self, batch: PlannedBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:  # noqa: ARG002
        yield (
            "main",
            layout_loss(self.model.predict_layout(torch.from_numpy(batch.ids)), torch.from_numpy(batch.layout)),
        )


def with_layout_predictor(model: Diffusion) -> Diffusion:
    """The same model with a new layout predictor."""
    new = Diffusion(replace(model.config, layout=LayoutConfig()), model.tokenizer)
    initialise(new, 0)
    copy_weights(new, model)
    return new.eval()


@torch.no_grad()
def layout_accuracy(reader: LayoutTraining, planner: BatchPlanner, batches: int) -> tuple[float, float]:
    """Accuracy on the tokens of new scenes.

    Returns the fraction correctly classified as naming a thing or not, and, for coordinates that are not near the
    centre, the fraction predicted on the correct side of it.
    """
    names_right, sides_right = [], []
    for k in range(batches):
        batch = planner.at((10**6 + k) * planner.batch_size)
        found, where = reader.model.predict_layout(torch.from_numpy(batch.ids)), torch.from_numpy(batch.layout)
        names_thing, real = ~where.isnan().any(-1), torch.from_numpy(batch.ids) != 0
        names_right.append(((found[..., 0] > 0) == names_thing)[real])
        clear = names_thing[..., None] & ((where[..., :2] - 0.5).abs() > 0.1)
        sides_right.append(((found[..., 1:3] > 0.5) == (where[..., :2] > 0.5))[clear])
    return torch.cat(names_right).float().mean().item(), torch.cat(sides_right).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the layout predictor of the default model on captions.")
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--captions", type=int, default=512_000)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)

    loaded = load_model(arguments.model, dtype=torch.float32)
    reader = LayoutTraining(with_layout_predictor(loaded.model))
    model = reader.model
    pictures, _ = pack(open_source(arguments.data), SIDE, 4, captioner=training_captions)  # for their boxes
    rows, _ = split_cells(pictures.meta)
    pictures = pictures.take(rows)
    pictures.meta = [annotated(meta) for meta in pictures.meta]
    config = TrainConfig(
        images=arguments.captions, batch_size=256, muon_lr=0.02, adamw_lr=2e-3, warmup=5_120, cooldown=0.7,
        caption_dropout=0.02, log_every=25_600, save_every=51_200, sample_every=10**9,
    )  # fmt: skip
    index = np.repeat(np.arange(len(pictures)), [weight(meta) for meta in pictures.meta])
    planner = BatchPlanner(
        drawings_of(pictures), index, model.tokenizer, model.config.text.length, MIX, config.batch_size, config.seed,
        config.caption_dropout,
    )  # fmt: skip
    nothing = Pictures(pictures.pixels[:1], pictures.captions[:1], pictures.keys[:1], pictures.meta[:1])
    run = Run(arguments.run, reader, nothing, config, BatchSource(planner.at), KIND)
    for now in training_loop(run):
        if now.event == "log":
            print(f"{now.images_seen} of {now.images}: {now.loss:.4f}, {now.rate:.0f}/s, {now.seconds_left:.0f} s left")
    with run.evaluating() as trained:
        names_right, sides_right = layout_accuracy(trained, planner, 8)
        print(f"accuracy: {names_right:.2%} of tokens (names a thing or not), {sides_right:.2%} of coordinates (side)")
        notes = {**loaded.notes, "words": known_words(icons(), pictures)}
        save_model(
            arguments.out, trained.model, None, loaded.settings, notes, torch.int8, few_step_weights(loaded.path)
        )
    print(arguments.out)


if __name__ == "__main__":
    main()
