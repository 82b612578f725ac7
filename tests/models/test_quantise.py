"""Quantisers: indices and codes, gradients, the codebook's averages, and how much of it is used."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.models.quantise import (
    Codebook,
    CodebookConfig,
    Fsq,
    FsqConfig,
    code_use,
    rotated_through,
    straight_through,
)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_every_code_has_its_own_latent_and_comes_back(levels):
    fsq = Fsq(FsqConfig(tuple(levels)))
    codes = torch.arange(math.prod(levels)).view(1, 1, -1)
    latent = fsq.latent(codes)
    assert latent.shape == (1, len(levels), 1, codes.shape[-1])
    assert latent.abs().max() <= 1
    assert len(latent[0, :, 0].T.unique(dim=0)) == math.prod(levels)
    # What the encoder must give for a code: the inverse of the bound.
    q = latent.movedim(1, -1) * (fsq.levels // 2)
    half = (fsq.levels - 1) * (1 + 1e-3) / 2
    offset = torch.where(fsq.levels % 2 == 0, 0.5, 0.0)
    x = torch.atanh((q + offset) / half) - torch.atanh(offset / half)
    found = fsq(x.movedim(-1, 1))
    assert torch.equal(found.codes, codes)
    assert torch.allclose(found.latent, latent, atol=1e-6)
    assert found.loss == 0


def test_all_levels_are_reached_and_no_other():
    fsq = Fsq(FsqConfig((8, 5)))
    x = torch.linspace(-6, 6, 2001).expand(1, 2, -1)[..., None]
    found = fsq(x)
    assert [len(found.latent[0, i].unique()) for i in range(2)] == [8, 5]
    assert fsq(torch.zeros(1, 2, 1, 1)).latent.abs().max() <= 0.25  # near the middle


def test_the_gradient_of_fsq_passes_straight_through_the_rounding():
    fsq = Fsq(FsqConfig((8, 5)))
    x = torch.randn(2, 2, 3, 3, requires_grad=True)
    fsq(x).latent.sum().backward()
    wanted = torch.autograd.functional.jacobian(
        lambda y: (fsq.bounded(y.movedim(1, -1)) / (fsq.levels // 2)).sum(), x.detach()
    )
    assert torch.allclose(x.grad, wanted)


def test_straight_through():
    x, q = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    out = straight_through(x, q)
    assert torch.allclose(out, q)
    weights = torch.randn(5, 3)
    (out * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_rotation_and_scale():
    """The Jacobian is a rotation (determinant 1) times |q| / |x|, and the value is q."""
    generator = torch.Generator().manual_seed(0)
    x, q = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(rotated_through(x, q), q)
    jacobian = torch.autograd.functional.jacobian(lambda y: rotated_through(y[None], q[None])[0], x)
    rotation = jacobian / (q.norm() / x.norm())
    assert torch.allclose(rotation @ rotation.T, torch.eye(4, dtype=torch.float64))
    assert torch.linalg.det(rotation) == pytest.approx(1)
    assert torch.allclose(rotation @ (x / x.norm()), q / q.norm())


def test_rotation_between_opposite_vectors_has_a_finite_gradient():
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    rotated_through(x, -2 * x.detach()).sum().backward()
    assert torch.equal(x.grad, torch.ones(1, 2))


def test_the_codebook_settles_at_the_centroids():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0]])
    book = Codebook(CodebookConfig(codes=3, channels=2, decay=0.9)).train()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():  # k-means has other optima too: begin near this one
        book.table.copy_(centres + 0.8)
        book.sums.copy_(book.table)
    points = centres.repeat(20, 1) + 0.1 * torch.randn(60, 2, generator=generator)
    x = points.T.reshape(1, 2, 60, 1)
    for _ in range(200):
        found = book(x, rng)
    means = torch.stack([points[i::3].mean(0) for i in range(3)])
    order = torch.cdist(means, book.table).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert torch.allclose(book.table[order], means, atol=1e-3)
    assert found.loss == pytest.approx(0.25 * (points - means.repeat(20, 1)).square().mean().item(), rel=1e-3)


def test_the_codebook_stands_still_in_evaluation():
    book = Codebook(CodebookConfig(codes=8, channels=2)).eval()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    book(torch.randn(2, 2, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in book.state_dict().items())


def test_unused_codes_begin_again():
    book = Codebook(CodebookConfig(codes=64, channels=2, decay=0.5)).train()
    x = 100 + torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))  # far from every code
    rng = torch.Generator().manual_seed(0)
    first = code_use(book(x, rng).codes, 64)["codes used"]
    for _ in range(30):
        found = book(x, rng)
    assert first < 0.2
    assert code_use(found.codes, 64)["codes used"] > 0.7


def test_how_codes_are_used():
    assert code_use(torch.arange(16), 16) == {"perplexity": pytest.approx(16), "codes used": 1.0}
    assert code_use([torch.zeros(5, dtype=torch.int64)], 10) == {"perplexity": pytest.approx(1), "codes used": 0.1}


def test_what_cannot_be():
    with pytest.raises(ValueError, match="2 levels or more"):
        FsqConfig((8, 1))
    with pytest.raises(ValueError, match="no estimator"):
        CodebookConfig(estimator="nearest")
