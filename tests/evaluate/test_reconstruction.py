"""PSNR and structural similarity against torchmetrics; the section of a report."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from unstir.evaluate.metrics.reconstruction import alpha_error, psnr, ssim
from unstir.models.pixels import on_white, to_model, with_channels


def pictures(n=3, size=24, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def noisy(real, amount):
    noise = np.random.default_rng(1).normal(0, amount, real.shape)
    return np.clip(real + noise, 0, 255).round().astype(np.uint8)


def test_as_torchmetrics():
    real = pictures()
    made = noisy(real, 20)
    theirs = [torch.from_numpy(x).permute(0, 3, 1, 2).double() / 255 for x in (made, real)]
    for row in range(3):
        one, other = (x[row : row + 1] for x in theirs)
        wanted = peak_signal_noise_ratio(one, other, data_range=1.0).item()
        assert psnr(real, made)[row] == pytest.approx(wanted, rel=1e-6)
        wanted = structural_similarity_index_measure(one, other, data_range=1.0).item()
        assert ssim(real[row], made[row]) == pytest.approx(wanted, abs=5e-3)  # edges are treated otherwise there


def test_equal_and_small_pictures():
    real = pictures(size=8)
    assert psnr(real, real).tolist() == [100.0] * 3
    assert ssim(real[0], real[0]) == pytest.approx(1)
    assert ssim(real[0], noisy(real, 60)[0]) < 0.9


def test_transparent_pictures_are_compared_over_white():
    real = pictures(channels=4)
    other = real.copy()
    other[..., :3][real[..., 3] == 0] = 7  # invisible
    assert (psnr(on_white(real), on_white(other)) == 100).all()
    assert (alpha_error(real, other) == 0).all()
    other[..., 3] = 255 - real[..., 3]
    assert (psnr(on_white(real), on_white(other)) < 20).all()
    assert alpha_error(real, other).mean() == pytest.approx(np.abs(255 - 2.0 * real[..., 3]).mean() / 255)


def test_over_white_and_with_an_alpha():
    pixels = np.array([[[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]]], dtype=np.uint8)
    assert on_white(pixels)[0, 0].tolist() == [[255, 0, 0], [255, 255, 255], [127, 127, 127]]
    x = to_model(torch.from_numpy(pixels))
    white = (with_channels(x, 3) + 1) / 2 * 255
    assert np.abs(white.permute(0, 2, 3, 1).numpy() - on_white(pixels)).max() <= 1
    assert torch.equal(with_channels(x[:, :3], 4)[:, 3], torch.ones(1, 1, 3))
    assert with_channels(x, 4) is x
