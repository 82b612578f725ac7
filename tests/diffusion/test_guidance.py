import math

import pytest
import torch

from unstir.diffusion.guidance import autoguide, clip_range, dynamic_threshold, guide, inpaint, one_by_one


def toy(xt, t, cond):
    """A denoiser whose answer tells xt, t and cond apart. cond: (B, 1, 1, 1) or broadcastable."""
    return torch.tanh(xt) * (1 - 0.5 * t.reshape(-1, 1, 1, 1)) + cond


def counting(denoise):
    calls = []

    def counted(xt, t, cond):
        calls.append((xt, t, cond))
        return denoise(xt, t, cond)

    return counted, calls


def batch(count=4, t=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    xt = torch.randn(count, 2, 3, 3, generator=generator, dtype=torch.float64)
    cond = torch.randn(count, 1, 1, 1, generator=generator, dtype=torch.float64)
    return xt, torch.full((count,), t, dtype=torch.float64), cond


NULL = torch.tensor(-0.3, dtype=torch.float64).reshape(1, 1, 1, 1)


def join(cond, null):
    return torch.cat([cond, null.expand_as(cond)])


def test_scale_1_is_off():
    assert guide(toy, NULL, 1.0) is toy
    assert autoguide(toy, clip_range(toy), 1) is toy


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 7.5])
def test_formula(scale):
    xt, t, cond = batch()
    without, with_words = toy(xt, t, NULL), toy(xt, t, cond)
    # Ho and Salimans 2022, eq. 6, with their w = scale - 1: (1 + w)·cond - w·null.
    expected = scale * with_words + (1 - scale) * without
    torch.testing.assert_close(guide(toy, NULL, scale)(xt, t, cond), expected, rtol=1e-13, atol=1e-13)


def test_join_asks_once_and_gives_the_same():
    xt, t, cond = batch()
    counted, calls = counting(toy)
    joined = guide(counted, NULL, 3.0, join=join)(xt, t, cond)
    assert len(calls) == 1
    assert calls[0][0].shape[0] == calls[0][1].shape[0] == calls[0][2].shape[0] == 8
    assert torch.equal(joined, guide(toy, NULL, 3.0)(xt, t, cond))


@pytest.mark.parametrize("joining", [None, join])
def test_outside_the_interval_the_conditional_prediction_alone_at_half_the_cost(joining):
    counted, calls = counting(toy)
    guided = guide(counted, NULL, 3.0, interval=(0.2, 0.8), join=joining)
    for t in (0.1, 0.19999, 0.80001, 1.0):
        calls.clear()
        xt, times, cond = batch(t=t)
        assert torch.equal(guided(xt, times, cond), toy(xt, times, cond))
        assert [call[0].shape[0] for call in calls] == [4]
    for t in (0.2, 0.5, 0.8):
        calls.clear()
        xt, times, cond = batch(t=t)
        assert torch.equal(guided(xt, times, cond), guide(toy, NULL, 3.0)(xt, times, cond))
        assert sum(call[0].shape[0] for call in calls) == 8


def test_every_picture_of_a_batch_has_its_own_time():
    xt, _, cond = batch()
    t = torch.tensor([0.1, 0.5, 0.9, 0.3], dtype=torch.float64)
    got = guide(toy, NULL, 3.0, interval=(0.2, 0.8))(xt, t, cond)
    full, plain = guide(toy, NULL, 3.0)(xt, t, cond), toy(xt, t, cond)
    for i, inside in enumerate([False, True, False, True]):
        assert torch.equal(got[i], (full if inside else plain)[i])


@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1), (math.nan, 1.0)])
def test_bad_intervals_raise_when_built(interval):
    with pytest.raises(ValueError, match="interval"):
        guide(toy, NULL, 2.0, interval=interval)
    with pytest.raises(ValueError, match="interval"):
        autoguide(toy, toy, 2.0, interval=interval)


def test_autoguide():
    xt, t, cond = batch()

    def weak(xt, t, cond):
        return toy(0.5 * xt, t, 0.9 * cond)

    good, bad = toy(xt, t, cond), weak(xt, t, cond)
    # Karras et al. 2024, eq. 3: w·D1 + (1 - w)·D0.
    torch.testing.assert_close(autoguide(toy, weak, 2.5)(xt, t, cond), 2.5 * good - 1.5 * bad)
    t.fill_(0.9)
    assert torch.equal(autoguide(toy, weak, 2.5, interval=(0, 0.5))(xt, t, cond), toy(xt, t, cond))


def test_clip():
    xt, t, cond = batch()
    got = clip_range(lambda xt, t, cond: 3 * toy(xt, t, cond))(xt, t, cond)
    assert torch.equal(got, torch.maximum(torch.minimum(3 * toy(xt, t, cond), torch.tensor(1.0)), torch.tensor(-1.0)))
    assert clip_range(lambda xt, t, cond: 9 * xt, -2, 0.5)(xt, t, cond).aminmax() == (-2, 0.5)


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995, 1.0])
def test_threshold_is_imagens(percentile):
    """Saharia et al. 2022, section 2.3: s = max(percentile of |x0|, 1), per picture; clip to [-s, s], divide by s."""
    xt, t, cond = batch()
    xt = xt * torch.tensor([0.1, 1, 2, 5]).reshape(-1, 1, 1, 1)
    got = dynamic_threshold(lambda xt, t, cond: xt, percentile)(xt, t, cond)
    for picture, thresholded in zip(xt, got, strict=True):
        values = sorted(abs(value) for value in picture.flatten().tolist())
        place = percentile * (len(values) - 1)
        below = math.floor(place)
        above = min(below + 1, len(values) - 1)
        s = max(values[below] + (place - below) * (values[above] - values[below]), 1.0)
        expected = [min(max(value, -s), s) / s for value in picture.flatten().tolist()]
        assert thresholded.flatten().tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(got[0], xt[0])  # within [-1, 1] already: left alone
    assert got.abs().max() <= 1


@pytest.mark.parametrize("percentile", [0.0, -0.1, 1.01, math.nan])
def test_bad_percentiles_raise_when_built(percentile):
    with pytest.raises(ValueError, match="percentile"):
        dynamic_threshold(toy, percentile)


def test_inpaint_keeps_the_known_part():
    xt, t, cond = batch()
    known = torch.full((4, 2, 3, 3), 0.123456789, dtype=torch.float64)
    mask = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    mask[..., :2, 1:] = 1
    got = inpaint(toy, known, mask)(xt, t, cond)
    keep = mask.bool().expand_as(got)
    assert torch.equal(got[keep], known[keep])
    assert torch.equal(got[~keep], toy(xt, t, cond)[~keep])


def test_one_by_one_gives_the_bits_of_each_alone():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 96, generator=generator)
    xt, t, cond = (torch.randn(16, 96, generator=generator), torch.rand(16, generator=generator), list(range(16)))

    def denoise(xt, t, cond):
        assert len(xt) == len(t) == len(cond)
        return torch.tanh(xt @ weight) * t[:, None] + sum(cond)

    whole = one_by_one(denoise, lambda cond, i: cond[i : i + 1])(xt, t, cond)
    for i in range(16):
        assert torch.equal(whole[i : i + 1], denoise(xt[i : i + 1], t[i : i + 1], [i]))


def test_one_by_one_leaves_a_batch_of_one_alone():
    xt, t, cond = batch(1)
    seen = []

    def denoise(xt, t, cond):
        seen.append(cond)
        return xt

    one_by_one(denoise, lambda cond, i: pytest.fail("split of one"))(xt, t, cond)
    assert seen == [cond]


def test_wrappers_nest_in_any_order():
    xt, t, cond = batch()
    inner = clip_range(guide(toy, NULL, 4.0))(xt, t, cond)
    raw = toy(xt, t, NULL) + 4 * (toy(xt, t, cond) - toy(xt, t, NULL))
    torch.testing.assert_close(inner, raw.clamp(-1, 1))
    outer = guide(clip_range(toy), NULL, 4.0)(xt, t, cond)
    raw = toy(xt, t, NULL).clamp(-1, 1)
    torch.testing.assert_close(outer, raw + 4 * (toy(xt, t, cond).clamp(-1, 1) - raw))
    assert not torch.allclose(inner, outer)
    twice = guide(guide(toy, NULL, 2.0), NULL, 3.0)(xt, t, cond)
    # The guided answer to the null conditioning is the null answer itself: scales multiply.
    torch.testing.assert_close(twice, guide(toy, NULL, 6.0)(xt, t, cond))
    everything = inpaint(
        dynamic_threshold(autoguide(guide(toy, NULL, 2.0, join=join), clip_range(toy), 1.5)), xt[:1], torch.ones(1)
    )
    assert torch.equal(one_by_one(everything, lambda cond, i: cond[i : i + 1])(xt[:1], t[:1], cond[:1]), xt[:1])
