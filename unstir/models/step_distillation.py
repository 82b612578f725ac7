"""Fewer steps: the network is taught to walk a teacher's path in a few long strides."""

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
    """Pieces of a teacher's paths. xt, xs: (B, C, S, S) where a piece begins and ends.  t, s: (B,) the times of both;

    s < t.  ids: (B, L) the words it followed.
    """

    xt: Tensor
    xs: Tensor
    t: Tensor
    s: Tensor
    ids: Tensor


def x0_target(xt: Tensor, xs: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The picture towards which one straight step from xt at t lands on xs at s: `step_to`, solved for x0.

    xt, xs: (B, *).  t, s: (B,), s < t.  Returns (B, *). Source: Salimans and Ho 2022, appendix G.
    """
    alpha_t, sigma_t = per_picture(schedule.alpha(t), xt), per_picture(schedule.sigma(t), xt)
    alpha_s, sigma_s = per_picture(schedule.alpha(s), xt), per_picture(schedule.sigma(s), xt)
    kept = sigma_s / sigma_t
    return (xs - kept * xt) / (alpha_s - kept * alpha_t)


class StepDistillation(nn.Module):
    """A model with a low-rank change that learns the long strides; guidance, being in the teacher's path, with them.

    The rest of the model stays as it is, so that one file can hold both: many steps, and few.
    """

    def __init__(self, model: Diffusion, rank: int = 16) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.learning = add_lora(model.network, rank)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def parts(self) -> dict[str, nn.Module]:
        """Only the low-rank changes have gradients."""
        return {"main": self.model.network}

    def exported(self) -> nn.Module:
        """The model that is trained, with its low-rank change in place."""
        return self.model

    def compile_loss(self) -> None:
        """Let torch compile the blocks."""
        compile_blocks(self)

    def losses(self, batch: TrajectorySegments, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:  # noqa: ARG002
        """("main", the mean squared error of the aim)."""
        with torch.no_grad():
            words = self.model.read(batch.ids)
            goal = x0_target(batch.xt, batch.xs, batch.t, batch.s, self.model.schedule)
        yield "main", (self.model.denoiser()(batch.xt, batch.t, words) - goal).square().mean()
