"""Consistency distillation: the same loop, with the model itself as its teacher, until four steps are enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unstir.models.consistency import Consistency
from unstir.models.diffusion import Diffusion
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.weights.model_file import load_model

KIND = "consistency"
TEACHER = "teacher.safetensors"

FEW_STEPS = DiffusionSettings(steps=4, guidance_scale=1.0, sampler="blend")
"""How a distilled model draws: guidance was learned with it, and `blend` is the sampler it was distilled for."""


@dataclass(frozen=True)
class DistillationOptions:
    """guidance_scale: of the teacher, and so of all that the distilled model draws.  steps: of the teacher's grid."""

    guidance_scale: float
    steps: int = 24


def begin(_description: Mapping[str, Any], options: Mapping[str, Any], folder: Path, device: str) -> Consistency:
    """A student and its teacher, both with the weights that lie in the run's folder. UserError if there are none."""
    return distillation(folder / TEACHER, DistillationOptions(**options), device)


def distillation(teacher: Path, options: DistillationOptions, device: str) -> Consistency:
    """A student with the weights of the teacher in this file, beside it. UserError where there is no such model."""
    student, master = (load_model(teacher, device, torch.float32).model for _ in range(2))
    assert isinstance(student, Diffusion)
    assert isinstance(master, Diffusion)
    return Consistency(student, master, options.guidance_scale, options.steps)


def distillation_config(batch_size: int, seed: int) -> TrainConfig:
    """Small steps, from weights that are good already; every picture with its words."""
    return TrainConfig(
        images=1, batch_size=batch_size, optimiser="adamw", adamw_lr=2e-4, caption_dropout=0.0, seed=seed
    )
