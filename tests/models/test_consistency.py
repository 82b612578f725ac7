"""Consistency distillation: what is compared with what, what learns, and that few steps come nearer to many."""

import torch

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
    distilled = Consistency(tiny(), model, guidance_scale=2.0, steps=8)
    given = batch(model)
    eps = torch.randn(given.x0.shape, generator=torch.manual_seed(4))
    n = torch.ones(6, dtype=torch.long)
    loss = distilled.loss_at(given, n, eps)
    t = n / 8
    xt = noised(given.x0, eps, t, model.schedule)
    words, null = model.text(given.ids), model.text(empty_prompt(given.ids))
    denoise = model.denoiser()
    good, bad = denoise(xt, t, words), denoise(xt, t, null)
    target = (bad + 2.0 * (good - bad)).clamp(-1, 1)
    error = (good - target).square().flatten(1).mean(1)  # the student is still the teacher
    assert torch.allclose(loss, (error + HUBER**2).sqrt() - HUBER, atol=1e-5)


def test_only_the_students_network_learns():
    distilled = Consistency(tiny(), tiny(), guidance_scale=2.0)
    ((name, loss),) = distilled.losses(batch(distilled.student), torch.Generator().manual_seed(0))
    loss.backward()
    assert name == "main"
    assert all(p.grad is not None for p in distilled.student.network.parameters())
    others = [*distilled.teacher.parameters(), *distilled.student.text.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in others)


def test_the_empty_text_is_the_start_token_alone():
    model = tiny()
    ids = model.tokenize(["a red disc", ""])
    assert torch.equal(empty_prompt(ids)[0], ids[1])


def test_distillation_makes_one_step_choose():
    """Two pictures go by one name. In one step a diffusion model draws their mean; distilled, it draws one of them."""
    teacher = tiny(1)
    pictures = torch.stack([sign * torch.ones(3, 8, 8) for sign in (-0.8, 0.8)])
    data = Batch(pictures.repeat(8, 1, 1, 1), teacher.tokenize(["a red disc"] * 16))
    rng = torch.Generator().manual_seed(0)

    def learn(model, parameters, steps):
        optimiser = torch.optim.Adam(parameters, 2e-3)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
        for _ in range(steps):
            ((_, loss),) = model.losses(data, rng)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            falling.step()

    def undecided(model):
        prompts = ["a red disc"] * 16
        *_, last = model.sample(model.encode(prompts), range(16), DiffusionSettings(1, "ddim", 1.0))
        return (last.x0.mean((1, 2, 3)).abs() - 0.8).abs().mean().item()

    learn(teacher, teacher.parameters(), 300)
    student = tiny(1)
    student.load_state_dict(teacher.state_dict())
    before = undecided(student)
    distilled = Consistency(student, teacher, guidance_scale=1.0, steps=4)
    learn(distilled, student.network.parameters(), 300)
    assert before > 0.2
    assert undecided(student) < 0.4 * before
