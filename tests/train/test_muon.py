"""Muon agrees with torch's own, whose matrices are orthogonalised one by one."""

import pytest
import torch

from unstir.train.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (32, 32)])
def test_singular_values_come_close_to_one(shape):
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, *shape, generator=torch.manual_seed(0))).float())
    assert values.shape == (3, min(shape))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_same_steps_as_torch():
    generator = torch.Generator().manual_seed(1)
    shapes = [(16, 48), (48, 16), (16, 48), (32, 32)]
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    one = Muon(ours, lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b, start in zip(ours, theirs, starts, strict=True):
        moved = (b - start).norm()
        # The products are in bfloat16, and a batch of them rounds differently from one.
        assert (a - b).norm() < 0.02 * moved
        assert torch.allclose(one.state[a]["momentum_buffer"], other.state[b]["momentum_buffer"], atol=1e-6)


def test_parameters_without_gradient_stay():
    still, moving = (torch.nn.Parameter(torch.ones(16, 16)) for _ in range(2))
    moving.grad = torch.randn(16, 16, generator=torch.manual_seed(0))
    Muon([still, moving], lr=0.1).step()
    assert (still == 1).all()
    assert not (moving == 1).all()
