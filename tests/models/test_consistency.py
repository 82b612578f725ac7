"""Consistency tuning: what is compared with what, what learns, and that few steps come nearer to many."""

import torch

from unstir.diffusion.denoiser import noised
from unstir.models.consistency import HUBER, Consistency, silence
from unstir.models.diffusion import Batch, Diffusion, DiffusionConfig, Sampling
from unstir.nn.dit import DiTConfig
from unstir.nn.start import initialise
from unstir.nn.text import TextConfig
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
    words, null = model.text(given.ids), model.text(silence(given.ids))
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
    assert torch.equal(silence(ids)[0], ids[1])


def test_tuning_brings_one_step_nearer_to_many():
    teacher = tiny(1)
    tuned = Consistency(tiny(1), teacher, guidance_scale=1.5, steps=8)
    optimiser = torch.optim.Adam(tuned.student.network.parameters(), 2e-3)
    rng = torch.Generator().manual_seed(0)
    seeds = list(range(8))
    prompts = ["a red disc", "a blue box"] * 4

    def drawn(model, steps, guidance):
        *_, last = model.sample((3, 8, 8), model.encode(prompts), seeds, Sampling(steps, "ddim", guidance))
        return last.x0

    goal = drawn(teacher, 8, 1.5)
    before = (drawn(tuned.student, 1, 1.0) - goal).square().mean()
    data = Batch(goal.repeat(2, 1, 1, 1), teacher.tokenize(prompts * 2))
    for _ in range(200):
        ((_, loss),) = tuned.losses(data, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = (drawn(tuned.student, 1, 1.0) - goal).square().mean()
    assert after < 0.6 * before
