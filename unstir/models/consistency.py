"""Few steps: a diffusion model is tuned until one step from anywhere lands where its own guided path would end."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unstir.diffusion.denoiser import noised, per_picture
from unstir.diffusion.guidance import clip_range, guide
from unstir.models.diffusion import Batch, Diffusion
from unstir.models.process_group import process_group
from unstir.nn.text import TextEncoding
from unstir.nn.transformer import compile_blocks


class Consistency(nn.Module):
    """Consistency distillation of a guided teacher, on a fixed grid of times.

    The student's picture from x_t shall be its own picture from x_r, one guided step of the teacher nearer to the end;
    at the end it shall be the teacher's. Guidance is learned with it: the student is drawn from without.
    student: starts as the teacher; its network alone is trained, the words' encoder stays.  teacher: frozen.
    steps: of the teacher's grid, even in t.
    Source: Song et al. 2023, algorithm 2; with guidance Luo et al. 2023 (LCM); the student is its own target,
    without an average, as in Song and Dhariwal 2024, and so is the pseudo-Huber distance.
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
        """Only the student's network learns."""
        return {"main": self.student.network}

    def exported(self) -> nn.Module:
        """The model of the model file: the student alone."""
        return self.student

    def compile_loss(self) -> None:
        """Let torch compile the blocks of student and teacher."""
        compile_blocks(self)

    def losses(self, batch: Batch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean distance between the student's pictures from neighbouring times)."""
        x0, total = batch.x0, len(batch.x0) * process_group().processes  # drawn for all processes, as in Diffusion.draw
        mine = process_group().rows(total)
        n = torch.randint(1, self.steps + 1, (total,), generator=rng, device=x0.device)[mine]
        eps = torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[mine]
        yield "main", self.loss_at(batch, n, eps).mean()

    def loss_at(self, batch: Batch, n: Tensor, eps: Tensor) -> Tensor:
        """The distance for each picture, noised to time n/steps. n: (B,) integers in [1, steps]. Returns (B,)."""
        schedule = self.teacher.schedule
        t, r = n / self.steps, (n - 1) / self.steps
        xt = noised(batch.x0, eps, t, schedule)
        with torch.no_grad():
            words = self.teacher.condition(batch)
            null = self.teacher.text(empty_prompt(batch.ids[:1])).repeat(len(n))
            guided = clip_range(guide(self.teacher.denoiser(), null, self.guidance_scale, join=TextEncoding.join))
            end = guided(xt, t, words)
            alpha, sigma = per_picture(schedule.alpha(t), xt), per_picture(schedule.sigma(t), xt)
            xr = noised(end, (xt - alpha * end) / sigma, r, schedule)
            target = torch.where(per_picture(r, xt) > 0, clip_range(self.student.denoiser())(xr, r, words), end)
        error = (self.student.denoiser()(xt, t, words) - target).square().flatten(1).mean(1)
        return (error + HUBER**2).sqrt() - HUBER


HUBER = 0.00054
"""Where the distance turns from square to straight, as a root mean square over a picture's numbers."""


def empty_prompt(ids: Tensor) -> Tensor:
    """The tokens of the empty text, in the shape of these: the start token alone. ids: (B, L)."""
    empty = torch.zeros_like(ids)
    empty[:, 0] = ids[:, 0]
    return empty
