"""Composed scenes as a source of batches, in place of single drawings."""

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
"""Processes that plan scenes for the GPUs of one machine. Without a GPU there are none."""


@dataclass(frozen=True)
class SceneSource:
    """Scenes composed of transparent drawings.

    The pictures need an alpha channel and the metadata name, phrase, style; tags, thing, dark and weight are optional.
    mix: the kinds of scenes.
    """

    mix: SceneMix = field(default_factory=SceneMix)

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "scenes", "mix": asdict(self.mix)}

    def captions(self, pictures: Pictures, each: int = 2) -> list[str]:
        """Captions of scenes without typos, to train a tokenizer on; deterministic.

        each: how many for each drawing.
        """
        drawings = drawings_of(pictures)
        planner = ScenePlanner(drawings, SceneMix(typos=0.0))
        rng = keyed_generator(0)
        return [planner.scene(row, rng).caption for row in range(len(drawings)) for _ in range(each)]

    def shortest_captions(self, pictures: Pictures) -> list[str]:
        """The captions that must fit into the context of a model; scenes with longer ones are left out."""
        return [f"{drawing.name}, {drawing.phrase}" for drawing in drawings_of(pictures)]

    def batches(
        self, model: Diffusion, trained: Pictures, batch_size: int, seed: int, caption_dropout: float
    ) -> SceneBatches:
        """Batches of scenes.

        model: gives tokenizer, context and device.
        trained: the drawings; each is used `weight` times in one pass (metadata, 1 by default).
        ValueError for pictures without an alpha channel or without the metadata.
        """
        if trained.pixels.shape[3] != 4:
            raise ValueError("scenes need transparent drawings, and these pictures have no alpha channel")
        try:
            drawings: Sequence[Any] = drawings_of(trained)
        except KeyError as missing:
            raise ValueError(f"scenes need metadata for captions, and a picture has no {missing}") from None
        weights = [int(str(meta.get("weight", 1))) for meta in trained.meta]
        index = np.repeat(np.arange(len(trained)), weights)
        length = model.config.text.length
        planner = BatchPlanner(drawings, index, model.tokenizer, length, self.mix, batch_size, seed, caption_dropout)
        pixels = torch.from_numpy(np.array(trained.pixels)).to(model.device)
        workers = max(1, WORKERS // process_group().size) if model.device.type == "cuda" else 0
        return SceneBatches(pixels, planner, workers)
