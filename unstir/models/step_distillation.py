"""Step distillation: the network learns to follow a teacher's sampling trajectory in a few large steps."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.diffusion.denoiser import per_picture
from unstir.diffusion.schedule import NoiseSchedule
from unstir.models.diffusion import Diffusion
from unstir.nn.lora import add_lora
from unstir.nn.transformer import compile_blocks


class TrajectorySegments(NamedTuple):
    """Pieces of teacher trajectories, each to be covered in one step of the student.

    xt: (B, C, S, S), where a piece begins.
    xs: (B, C, S, S), where it ends.
    t, s: (B,), the times of both, s < t.
    ids: (B, L), tokens of the prompt.
    """

    xt: Tensor
    xs: Tensor
    t: Tensor
    s: Tensor
    ids: Tensor


def x0_target(xt: Tensor, xs: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The prediction with which one step from xt at t arrives at xs at s: `step_to`, solved for x0.

    xt, xs: (B, *).
    t, s: (B,), s < t.
    Returns (B, *).
    Source: Salimans and Ho 2022, appendix G.
    """
    alpha_t, sigma_t = per_picture(schedule.alpha(t), xt), per_picture(schedule.sigma(t), xt)
    alpha_s, sigma_s = per_picture(schedule.alpha(s), xt), per_picture(schedule.sigma(s), xt)
    kept = sigma_s / sigma_t
    return (xs - kept * xt) / (alpha_s - kept * alpha_t)


class StepDistillation(nn.Module):
    """A model whose network gets a LoRA that learns the large steps.

    The teacher's trajectory is guided, so the student learns guidance with it. All other weights stay as they are, so
    one file can hold the model for many steps and the LoRA for few.

    model: the student; it begins as the teacher.
    rank: of the LoRA.
    trainable: the parameters of the LoRA.
    """

    def __init__(self, model: Diffusion, rank: int = 16) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.trainable = add_lora(model.network, rank)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def parts(self) -> dict[str, nn.Module]:
        """Only the LoRA has gradients."""
        return {"main": self.model.network}

    def exported(self) -> nn.Module:
        """The model that is trained, with its LoRA."""
        return self.model

    def compile_loss(self) -> None:
        """Compile the transformer blocks with torch."""
        compile_blocks(self)

    def losses(self, batch: TrajectorySegments, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:  # noqa: ARG002
        """("main", the mean squared error of the prediction against `x0_target`)."""
        with torch.no_grad():
            words = self.model.read(batch.ids)
            target = x0_target(batch.xt, batch.xs, batch.t, batch.s, self.model.schedule)
        yield "main", (self.model.denoiser()(batch.xt, batch.t, words) - target).square().mean()
