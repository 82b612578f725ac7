"""Tuning a model that draws until it needs few steps: the same loop, with the model itself as its teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unstir.models.consistency import Consistency
from unstir.models.diffusion import Sampling
from unstir.scenes.planner import SceneMix
from unstir.train.config import TrainConfig
from unstir.weights.model_file import load_model

FEW = Sampling(steps=4, guidance_scale=1.0, sampler="blend")
"""How a tuned model is drawn from: guidance was learned with it, and `blend` is the sampler it was tuned for."""


@dataclass(frozen=True)
class Tuning:
    """guidance_scale: of the teacher, and so of all that the tuned model draws.  steps: of the teacher's grid."""

    guidance_scale: float
    steps: int = 24


def tuning(teacher: Path, dials: Tuning, device: str) -> Consistency:
    """A student with the weights of the teacher in this file, beside it. UserError where there is no such model."""
    student, master = (load_model(teacher, device, torch.float32).model for _ in range(2))
    return Consistency(student, master, dials.guidance_scale, dials.steps)


def tuned_weights(model: Consistency, network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights of the student. network: those that were trained, by their names in the whole."""
    prefix = "student."
    return dict(model.student.named_parameters()) | {
        name.removeprefix(prefix): value for name, value in network.items()
    }


def tuning_config(batch_size: int, seed: int, scenes: bool | SceneMix) -> TrainConfig:
    """Small steps, from weights that are good already; every picture with its words."""
    return TrainConfig(
        images=1,
        batch_size=batch_size,
        optimiser="adamw",
        adamw_lr=2e-4,
        caption_dropout=0.0,
        seed=seed,
        scenes=scenes,
    )
