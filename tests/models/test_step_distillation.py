"""Step distillation: the target is the step solved for x0, and a LoRA learns it."""

import pytest
import torch
from test_consistency import tiny

from unstir.diffusion.sampler import levels_of, step_to
from unstir.diffusion.schedule import named_schedule
from unstir.models.step_distillation import StepDistillation, TrajectorySegments, x0_target
from unstir.nn.lora import lora_weights, merge_lora
from unstir.settings import DiffusionSettings


@pytest.mark.parametrize("name", ["flow", "cosine", "linear-beta"])
def test_a_step_towards_the_target_ends_where_the_segment_does(name):
    schedule = named_schedule(name)
    levels = levels_of(schedule, [0.9, 0.35, 0.0])
    xt, xs = torch.randn(2, 3, 4, 4, generator=torch.manual_seed(0), dtype=torch.float64)[:, None]
    for t, s, i in ((0.9, 0.35, 0), (0.35, 0.0, 1)):
        x0 = x0_target(xt, xs, torch.tensor([t], dtype=torch.float64), torch.tensor([s], dtype=torch.float64), schedule)
        assert torch.allclose(step_to(x0, xt, levels[i], levels[i + 1]), xs, atol=1e-9)


def test_four_steps_learn_a_trajectory_of_twelve():
    teacher, student = tiny(5), tiny(5)
    seeds, prompts = list(range(8)), ["a red disc", "a blue box"] * 4
    cond = teacher.encode(prompts)
    ends = []
    for step in teacher.sample(cond, seeds, DiffusionSettings(12, "ddim", 2.0)):
        if step.i % 3 == 0:
            ends.append(step.xt.clone())
    ends.append(step.x0)
    before = {name: p.clone() for name, p in student.named_parameters()}
    distillation = StepDistillation(student, rank=8)
    optimiser = torch.optim.Adam(distillation.trainable, 5e-3)
    ids = teacher.tokenize(prompts)
    batch = TrajectorySegments(
        torch.cat(ends[:4]),
        torch.cat(ends[1:]),
        torch.tensor([1.0, 0.75, 0.5, 0.25]).repeat_interleave(8),
        torch.tensor([0.75, 0.5, 0.25, 0.0]).repeat_interleave(8),
        ids.repeat(4, 1),
    )

    def error(model):
        *_, last = model.sample(model.encode(prompts), seeds, DiffusionSettings(4, "ddim", 1.0))
        return (last.x0 - ends[-1]).square().mean().item()

    untrained = error(tiny(5))
    for _ in range(150):
        ((_, loss),) = distillation.losses(batch, torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    deltas = lora_weights(student.network)
    assert deltas
    kept = {name.replace("parametrizations.weight.original", "weight"): p for name, p in student.named_parameters()}
    assert all(torch.equal(kept[name], weight) and kept[name].grad is None for name, weight in before.items())
    fresh = tiny(5)
    merge_lora(fresh.network, deltas)
    assert error(fresh) < 0.5 * untrained
    assert error(fresh) == pytest.approx(error(student), rel=1e-3)


def test_changes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        merge_lora(tiny().network, {"blocks.0.mlp.up.weight": (torch.zeros(2, 3), torch.zeros(4, 2))})
    with pytest.raises(ValueError, match="nowhere"):
        merge_lora(tiny().network, {"nowhere": (torch.zeros(2, 3), torch.zeros(4, 2))})
