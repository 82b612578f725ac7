"""Composed scenes as a source of batches, in place of the single drawings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.diffusion.philox import keyed_generator
from unstir.models.diffusion import Diffusion
from unstir.models.process_group import process_group
from unstir.scenes.batches import BatchPlanner, SceneBatches, drawings_of
from unstir.scenes.planner import SceneMix, ScenePlanner

WORKERS = 8
"""Processes that plan scenes for the GPUs of one machine. A CPU that trains has none to spare."""


@dataclass(frozen=True)
class SceneSource:
    """Scenes composed of transparent drawings.

    mix: in which shares.
    Needs pictures with an alpha channel, and metadata: name, phrase, style; tags, thing, dark and weight if known.
    """

    mix: SceneMix = field(default_factory=SceneMix)

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": "scenes", "mix": asdict(self.mix)}

    def captions(self, pictures: Pictures, each: int = 2) -> list[str]:
        """Captions of scenes without typos, for a tokenizer to learn: so many around each drawing, always the same."""
        drawings = drawings_of(pictures)
        planner = ScenePlanner(drawings, SceneMix(typos=0.0))
        rng = keyed_generator(0)
        return [planner.scene(row, rng).caption for row in range(len(drawings)) for _ in range(each)]

    def shortest_captions(self, pictures: Pictures) -> list[str]:
        """What a model must be able to read: scenes with longer captions are not made, but every drawing alone is."""
        return [f"{drawing.name}, {drawing.phrase}" for drawing in drawings_of(pictures)]

    def batches(
        self, model: Diffusion, trained: Pictures, batch_size: int, seed: int, caption_dropout: float
    ) -> SceneBatches:
        """Scenes of these drawings, each as often in an epoch as its `weight` says (1 if it does not).

        ValueError for pictures without transparency, or without the metadata that scenes are captioned by.
        """
        if trained.pixels.shape[3] != 4:
            raise ValueError("scenes are composed of transparent drawings, and these pictures have no transparency")
        try:
            drawings: Sequence[Any] = drawings_of(trained)
        except KeyError as missing:
            raise ValueError(f"scenes are captioned by each picture's metadata, and one has no {missing}") from None
        weights = [int(str(meta.get("weight", 1))) for meta in trained.meta]
        index = np.repeat(np.arange(len(trained)), weights)
        length = model.config.text.length
        planner = BatchPlanner(drawings, index, model.tokenizer, length, self.mix, batch_size, seed, caption_dropout)
        pixels = torch.from_numpy(np.array(trained.pixels)).to(model.device)
        workers = max(1, WORKERS // process_group().size) if model.device.type == "cuda" else 0
        return SceneBatches(pixels, planner, workers)
