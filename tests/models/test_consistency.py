"""Consistency tuning: what is compared with what, what learns, and that few steps come nearer to many."""

import pytest
import torch
from torch import nn

from unstir.diffusion.denoiser import noised
from unstir.models.consistency import HUBER, Consistency, empty_prompt
from unstir.models.diffusion import Batch, Diffusion, DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer


def tiny(seed=0):
    tokenizer = Tokenizer.train(["a red disc", "a blue box"], 270)
    network = DiTConfig(8, 3, patch=2, width=32, depth=2, heads=2, bottleneck=8, words=32)
    model = Diffusion(DiffusionConfig(network, TextConfig(len(tokenizer), 12, 32, 1, 2)), tokenizer)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # layers that start at zero would make every prediction the same
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def batch(model, count=6):
    x0 = torch.rand(count, 3, 8, 8, generator=torch.manual_seed(3)) * 2 - 1
    return Batch(x0, model.tokenize(["a red disc", "a blue box"] * (count // 2)))


def test_from_the_last_level_the_target_is_the_guided_teacher():
    model = tiny()
    tuned = Consistency(tiny(), model, guidance_scale=2.0, steps=8)
    given = batch(model)
    eps = torch.randn(given.x0.shape, generator=torch.manual_seed(4))
    n = torch.ones(6, dtype=torch.long)
    loss = tuned.loss_at(given, n, eps)
    t = n / 8
    xt = noised(given.x0, eps, t, model.schedule)
    words, null = model.text(given.ids), model.text(empty_prompt(given.ids))
    denoise = model.denoiser()
    good, bad = denoise(xt, t, words), denoise(xt, t, null)
    target = (bad + 2.0 * (good - bad)).clamp(-1, 1)
    error = (good - target).square().flatten(1).mean(1)  # the student is still the teacher
    assert torch.allclose(loss, (error + HUBER**2).sqrt() - HUBER, atol=1e-5)


def test_only_the_students_network_learns():
    tuned = Consistency(tiny(), tiny(), guidance_scale=2.0)
    ((name, loss),) = tuned.losses(batch(tuned.student), torch.Generator().manual_seed(0))
    loss.backward()
    assert name == "main"
    assert all(p.grad is not None for p in tuned.student.network.parameters())
    others = [*tuned.teacher.parameters(), *tuned.student.text.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in others)


def test_the_empty_text_is_the_start_token_alone():
    model = tiny()
    ids = model.tokenize(["a red disc", ""])
    assert torch.equal(empty_prompt(ids)[0], ids[1])


STEPS, SIZE, COUNT = 8, 0.8, 32


class TwoPictures(nn.Module):
    """The exact denoiser of data that are all SIZE or all -SIZE, with a factor for each time that training may change.

    For these data E[x0 | xt] = SIZE·tanh(alpha·SIZE·sum(xt)/sigma²).
    """

    def __init__(self):
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(STEPS + 1))

    def forward(self, x, level, words):
        t = torch.sigmoid(-level / 2)[:, None, None, None]  # of the flow schedule
        alpha, sigma = 1 - t, t
        xt = x * (alpha.square() * 0.5**2 + sigma.square()).sqrt()  # a NetworkDenoiser scales its input
        factor = self.log_factor[(t * STEPS).round().long()].exp()
        decided = alpha * SIZE * xt.sum((1, 2, 3), keepdim=True) / sigma.square()
        return (SIZE * torch.tanh(factor * decided)).expand_as(x)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_step_of_the_student_leads_where_many_of_the_teacher_do(seed):
    """Two pictures have one caption. In one step the teacher draws about their mean, the student one of the two."""
    teacher, student = tiny(), tiny()
    teacher.network, student.network = TwoPictures(), TwoPictures()
    shape, prompt = (3, 2, 2), "a red disc"

    def drawn(model, steps):
        settings = DiffusionSettings(steps, "ddim", guidance_scale=1.0, size=shape[-1])
        *_, last = model.sample(model.encode([prompt] * COUNT), range(COUNT), settings)
        return last.x0

    signs = torch.tensor([-1.0, 1.0]).repeat(COUNT // 2)[:, None, None, None]
    data = Batch((SIZE * signs).expand(COUNT, *shape), teacher.tokenize([prompt] * COUNT))
    distillation = Consistency(student, teacher, guidance_scale=1.0, steps=STEPS)
    optimiser = torch.optim.Adam(student.network.parameters(), 0.1)
    rng = torch.Generator().manual_seed(seed)
    ends = drawn(teacher, STEPS)
    assert (ends.abs() - SIZE).abs().max() < 0.01, "the teacher's trajectory ends at one of the two"
    before = (drawn(student, 1) - ends).abs().mean().item()
    for _ in range(150):
        ((_, loss),) = distillation.losses(data, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = (drawn(student, 1) - ends).abs().mean().item()
    assert before > 0.6
    assert after < 0.1
