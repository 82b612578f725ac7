"""Pictures shifted, rotated and scaled by exactly what the arguments say."""

import pytest
import torch

from unstir.models.augment import JITTER_PARAMETERS, jitter


def parameters(**values):
    """Random numbers for one picture under which it does not change, but for those given."""
    names = ("scale", "turn", "right", "down")
    neutral = {"scale": 0.2 / 0.35, "turn": 0.5, "right": 0.5, "down": 0.5}
    return torch.tensor([[(neutral | values)[name]] for name in names])


def square(channels=4, side=32):
    x0 = torch.full((1, channels, side, side), -1.0)
    x0[..., 8:24, 8:24] = 1
    return x0


def test_jitter_at_rest_changes_nothing():
    x0 = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(jitter(x0, parameters()), x0, rtol=0, atol=1e-5)


def test_jitter_moves_and_scales_by_what_it_says():
    x0, mass = square(), 16 * 16

    def area(x):
        return ((x[0, 3] + 1) / 2).sum().item()

    moved = jitter(x0, parameters(right=1.0, down=0.0), shift=1 / 8)  # 4 pixels of 32
    torch.testing.assert_close(moved, x0.roll((-4, 4), (2, 3)), rtol=0, atol=1e-4)
    assert area(jitter(x0, parameters(scale=0.0))) == pytest.approx(0.8**2 * mass, rel=0.03)
    assert area(jitter(x0, parameters(scale=1.0))) == pytest.approx(1.15**2 * mass, rel=0.03)
    quarter = jitter(x0, parameters(turn=1.0), turn=90.0)
    torch.testing.assert_close(quarter, x0, rtol=0, atol=1e-4)
    eighth = jitter(x0, parameters(turn=1.0), turn=45.0)
    assert area(eighth) == pytest.approx(mass, rel=0.02)
    assert eighth[0, 3, 16, 6] > 0.9  # a corner points there now,
    assert eighth[0, 3, 8, 8] < -0.9  # and none there any more


def test_jitter_pads_with_transparency_or_with_the_edge():
    for channels, beyond in ((4, -1.0), (3, 0.25)):
        out = jitter(torch.full((1, channels, 16, 16), 0.25), parameters(scale=0.0))
        torch.testing.assert_close(out[0, :, 0, 0], torch.full((channels,), beyond))
        torch.testing.assert_close(out[0, :, 8, 8], torch.full((channels,), 0.25))
    x0 = torch.rand(64, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    out = jitter(x0, torch.rand(JITTER_PARAMETERS, 64, generator=torch.Generator().manual_seed(1)))
    assert out.abs().max() <= 1 + 1e-5
