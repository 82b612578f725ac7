"""Training by consistency distillation: a diffusion model is distilled to four steps, with itself as the teacher."""

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
"""The settings of a distilled model: it has learned the guidance, and `blend` is the sampler it was distilled for."""


@dataclass(frozen=True)
class DistillationOptions:
    """Options of consistency distillation.

    guidance_scale: of the teacher; the student learns it and is sampled without guidance.
    steps: of the teacher's grid.
    """

    guidance_scale: float
    steps: int = 24


def begin(_description: Mapping[str, Any], options: Mapping[str, Any], folder: Path, device: str) -> Consistency:
    """A student and its teacher, both with the weights of the teacher in the run folder. UserError if there is none."""
    return distillation(folder / TEACHER, DistillationOptions(**options), device)


def distillation(teacher: Path, options: DistillationOptions, device: str) -> Consistency:
    """A student and its teacher, both with the weights of this file. UserError where it is no model file."""
    student, master = (load_model(teacher, device, torch.float32).model for _ in range(2))
    assert isinstance(student, Diffusion)
    assert isinstance(master, Diffusion)
    return Consistency(student, master, options.guidance_scale, options.steps)


def distillation_config(batch_size: int, seed: int) -> TrainConfig:
    """The training configuration: a low learning rate, no caption dropout; without the number of pictures."""
    return TrainConfig(
        images=1, batch_size=batch_size, optimiser="adamw", adamw_lr=2e-4, caption_dropout=0.0, seed=seed
    )
