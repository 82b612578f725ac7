"""Consistency distillation: one step from anywhere on a teacher's guided trajectory leads to the end of it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unstir.diffusion.denoiser import noised, per_picture
from unstir.diffusion.guidance import clip_range, guide
from unstir.diffusion.prediction import eps_of
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.process_group import process_group
from unstir.nn.text import TextEncoding
from unstir.nn.transformer import compile_blocks

HUBER = 0.00054
"""Where the pseudo-Huber distance turns from square to linear, as a root mean square over the picture."""


class Consistency(nn.Module):
    """Consistency distillation of a guided teacher, on a fixed grid of times.

    The student's prediction from x_t is to equal its own prediction from x_r, which is one guided step of the teacher
    closer to the picture; in the last step it is to equal the teacher's. The student learns guidance with it and is
    sampled without.

    student: starts as the teacher; only its network is trained, not its text encoder.
    teacher: is frozen.
    guidance_scale: of the teacher.
    steps: of the teacher's grid, uniform in t.
    Source: Song et al. 2023, algorithm 2; with guidance Luo et al. 2023 (LCM). The student is its own target, without
    an average of its weights, and the distance is pseudo-Huber, as in Song and Dhariwal 2024.
    """

    def __init__(self, student: Diffusion, teacher: Diffusion, guidance_scale: float, steps: int = 24) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher.requires_grad_(False)
        self.student.text.requires_grad_(False)
        self.student.network.requires_grad_(True)
        self.guidance_scale, self.steps = guidance_scale, steps

    @property
    def device(self) -> torch.device:
        return self.student.device

    def parts(self) -> dict[str, nn.Module]:
        """Only the student's network is trained."""
        return {"main": self.student.network}

    def exported(self) -> nn.Module:
        """The model of the model file: the student alone."""
        return self.student

    def compile_loss(self) -> None:
        """Compile the transformer blocks of student and teacher with torch."""
        compile_blocks(self)

    def losses(self, batch: Batch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean distance between the student's predictions from neighbouring times).

        batch: this process's rows.
        rng: in the same state in all processes, on the device of the pictures.
        """
        # Drawn for all processes: a picture's noise does not depend on how many share the batch.
        x0, total = batch.x0, len(batch.x0) * process_group().size
        mine = process_group().rows(total)
        n = torch.randint(1, self.steps + 1, (total,), generator=rng, device=x0.device)[mine]
        eps = torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[mine]
        yield "main", self.loss_at(batch, n, eps).mean()

    def loss_at(self, batch: Batch, n: Tensor, eps: Tensor) -> Tensor:
        """The distance for each picture, noised to time n/steps.

        n: (B,) integers in [1, steps].
        eps: (B, C, S, S) unit noise.
        Returns (B,).
        """
        schedule = self.teacher.schedule
        t, r = n / self.steps, (n - 1) / self.steps
        xt = noised(batch.x0, eps, t, schedule)
        with torch.no_grad():
            words = self.teacher.condition(batch)
            null = self.teacher.text(empty_prompt(batch.ids[:1])).repeat(len(n))
            guided = clip_range(guide(self.teacher.denoiser(), null, self.guidance_scale, join=TextEncoding.join))
            end = guided(xt, t, words)
            alpha, sigma = per_picture(schedule.alpha(t), xt), per_picture(schedule.sigma(t), xt)
            xr = noised(end, eps_of(end, xt, alpha, sigma), r, schedule)
            target = torch.where(per_picture(r, xt) > 0, clip_range(self.student.denoiser())(xr, r, words), end)
        error = (self.student.denoiser()(xt, t, words) - target).square().flatten(1).mean(1)
        return (error + HUBER**2).sqrt() - HUBER


def empty_prompt(ids: Tensor) -> Tensor:
    """The tokens of the empty prompt, the start token alone. ids: (B, L) of any prompts.  Returns as ids."""
    empty = torch.zeros_like(ids)
    empty[:, 0] = ids[:, 0]
    return empty
