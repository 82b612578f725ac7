import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unstir.nn import attention as attention_file
from unstir.nn.attention import Attention, attend, rotated, rotation
from unstir.nn.conv import Conv
from unstir.nn.dit import DiT, DiTConfig, patches, unpatch
from unstir.nn.embed import sinusoids
from unstir.nn.init import init_zero, initialise
from unstir.nn.text import TextConfig, TextEncoder, TextEncoding
from unstir.nn.unet import UNet, UNetConfig

DIT = DiTConfig(size=16, channels=4, patch=4, width=32, depth=2, heads=2, bottleneck=16, words=24)
UNET = UNetConfig(
    size=16,
    channels=3,
    patch=2,
    widths=(16, 32),
    blocks=(1, 2),
    attend=(False, True),
    head=16,
    words=24,
    vector=32,
)


def network(config):
    return DiT(config) if isinstance(config, DiTConfig) else UNet(config)


def stirred(module, seed=0):
    """Initialised, and then every weight moved, so that nothing starts at zero any more."""
    initialise(module, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def words(count=3, length=5, width=24, real=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(count, 1, 1, length)
    mask[..., real:] = -1e4
    return TextEncoding(
        torch.randn(count, length, width, generator=generator), mask, torch.randn(count, width, generator=generator)
    )


def inputs(config, count=3, side=16, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, config.channels, side, side, generator=generator), torch.tensor([-3.0, 0.0, 9.0])[:count]


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
@pytest.mark.parametrize("side", [16, 24, 8])
def test_shapes_at_the_size_trained_at_and_at_others(config, side):
    net = stirred(network(config))
    xt, level = inputs(config, side=side)
    out = net(xt, level, words())
    assert out.shape == xt.shape
    assert out.isfinite().all()
    assert out.std() > 0.01


def test_dit_refuses_pictures_that_do_not_fit():
    net = stirred(DiT(DIT))
    for shape in ((1, 4, 18, 18), (1, 4, 16, 12)):
        with pytest.raises(ValueError, match="multiple of 4"):
            net(torch.zeros(shape), torch.zeros(1), words(1))
    with pytest.raises(ValueError, match="multiple of the patch"):
        DiTConfig(size=18, channels=3, patch=4)
    with pytest.raises(ValueError, match="heads"):
        DiT(DiTConfig(size=8, channels=3, patch=4, width=30, heads=4))
    with pytest.raises(ValueError, match="divisible by 4"):
        DiT(DiTConfig(size=8, channels=3, patch=4, width=12, heads=2))


def test_unet_refuses_pictures_that_do_not_fit():
    with pytest.raises(ValueError, match="multiples of 4"):
        stirred(UNet(UNET))(torch.zeros(1, 3, 18, 18), torch.zeros(1), words(1))
    with pytest.raises(ValueError, match="multiple of 8"):
        UNetConfig(size=20, channels=3)
    with pytest.raises(ValueError, match="one entry per scale"):
        UNetConfig(size=16, channels=3, widths=(16, 32))


def test_unet_takes_pictures_that_are_not_square():
    out = stirred(UNet(UNET))(
        torch.randn(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)), torch.ones(1), words(1)
    )
    assert out.shape == (1, 3, 8, 16)


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
def test_the_output_starts_at_zero(config):
    net = network(config)
    initialise(net, 0)
    xt, level = inputs(config)
    assert torch.equal(net(xt, level, words()), torch.zeros_like(xt))


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
def test_every_weight_gets_a_gradient(config):
    net = stirred(network(config))
    xt, level = inputs(config)
    net(xt, level, words()).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
def test_picture_level_and_words_all_matter(config):
    net = stirred(network(config))
    xt, level = inputs(config)
    out = net(xt, level, words())
    other = words(seed=5)
    for changed in (
        net(xt + 0.1, level, words()),
        net(xt, level + 1, words()),
        net(xt, level, words()._replace(tokens=other.tokens)),
        net(xt, level, words()._replace(pooled=other.pooled)),
    ):
        assert (changed - out).abs().max() > 1e-3


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
def test_padding_tokens_do_not_matter(config):
    net = stirred(network(config))
    xt, level = inputs(config)
    given = words(real=3)
    tokens = given.tokens.clone()
    tokens[:, 3:] = 50.0
    assert torch.equal(net(xt, level, given), net(xt, level, given._replace(tokens=tokens)))
    tokens[:, 2] = 50.0
    assert not torch.equal(net(xt, level, given), net(xt, level, given._replace(tokens=tokens)))


def test_initialise_is_a_function_of_seed_and_names():
    class Forwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), Conv(2, 3, 3)

    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            torch.randn(7, generator=torch.Generator().manual_seed(0))
            self.b, self.a = Conv(2, 3, 3), nn.Linear(3, 4)

    one, two, three = Forwards(), Backwards(), Forwards()
    for net, seed in ((one, 5), (two, 5), (three, 6)):
        torch.manual_seed(seed * 7)
        state = torch.get_rng_state()
        initialise(net, seed)
        assert torch.equal(torch.get_rng_state(), state)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not torch.equal(one.a.weight, three.a.weight)
    # Two layers of one shape do not get the same numbers.
    twins = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    initialise(twins, 0)
    assert not torch.equal(twins[0].weight, twins[1].weight)


def test_initialise_scales():
    class Some(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.conv = nn.Linear(256, 400), Conv(32, 300, 3)
            self.embedding, self.norm, self.zero = nn.Embedding(500, 64), nn.RMSNorm(8), nn.Linear(4, 4)
            self.group = nn.GroupNorm(2, 8)
            init_zero(self.zero)
            self.position = nn.Parameter(torch.ones(64, 100))
            self.table = nn.Parameter(torch.ones(6, 8))

    net = Some()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    initialise(net, 1)
    assert net.linear.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert net.conv.weight.std().item() == pytest.approx(1 / math.sqrt(32 * 9), rel=0.02)
    assert net.embedding.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert net.position.std().item() == pytest.approx(0.02, rel=0.05)
    for ones in (net.norm.weight, net.group.weight):
        assert (ones == 1).all()
    for zeros in (net.linear.bias, net.conv.bias, net.zero.weight, net.zero.bias, net.table, net.group.bias):
        assert (zeros == 0).all()


def qkv(dtype, n=10, m=7, d=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, n, d), (2, 3, m, d), (2, 3, m, d))
    mask = torch.zeros(2, 1, 1, m)
    mask[1, ..., 4:] = -1e4
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes], mask


def independent(q, k, v, mask):
    """Vaswani et al. 2017, eq. 1, with loops, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for n in range(q.shape[2]):
                logits = [
                    (q[b, h, n] @ k[b, h, j]).item() / math.sqrt(q.shape[-1]) + mask[b, 0, 0, j].item()
                    for j in range(k.shape[2])
                ]
                top = max(logits)
                weights = [math.exp(logit - top) for logit in logits]
                out[b, h, n] = sum(w / sum(weights) * v[b, h, j] for j, w in enumerate(weights))
    return out


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 0.03), (torch.float64, 1e-12)]
)
@pytest.mark.parametrize("few", [0, 256], ids=["fused", "plain"])
def test_both_ways_of_attention_are_the_formula(dtype, tolerance, few, monkeypatch):
    monkeypatch.setattr(attention_file, "FEW_TOKENS", few)
    (q, k, v), mask = qkv(dtype)
    for masked in (mask, None):
        expected = independent(q, k, v, torch.zeros_like(mask) if masked is None else masked)
        got = attend(q, k, v, masked)
        assert got.dtype == dtype
        # bfloat16 keeps 8 bits: 0.4 % of logits and values that reach 3 or 4.
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=tolerance)


def test_plain_and_fused_attention_agree_in_a_network(monkeypatch):
    net = stirred(DiT(DIT)).bfloat16()
    xt, level = inputs(DIT)
    plain = net(xt, level, words().to(torch.bfloat16))
    monkeypatch.setattr(attention_file, "FEW_TOKENS", 0)
    fused = net(xt, level, words().to(torch.bfloat16))
    assert (plain - fused).abs().max() < 0.05 * plain.abs().max()


def test_attention_module_against_its_formula():
    module = stirred(Attention(16, 2))
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))
    q, k, v = (x @ module.qkv.weight.T).split(16, dim=-1)

    def rms(y, weight):
        return y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    heads = []
    for h in range(2):
        part = slice(8 * h, 8 * h + 8)
        logits = rms(q[..., part], module.q_norm.weight) @ rms(k[..., part], module.k_norm.weight).mT / math.sqrt(8)
        heads.append(torch.softmax(logits, -1) @ v[..., part])
    torch.testing.assert_close(module(x), torch.cat(heads, -1) @ module.out.weight.T, rtol=1e-5, atol=1e-5)


def test_attention_across_looks_at_the_context_only_through_keys_and_values():
    module = stirred(Attention(16, 2, context=12))
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 5, 16, generator=generator), torch.randn(2, 7, 12, generator=generator)
    out = module(x, context)
    assert out.shape == x.shape
    order = torch.randperm(7, generator=generator)
    torch.testing.assert_close(module(x, context[:, order]), out, rtol=1e-5, atol=1e-6)


def test_rotation_makes_dot_products_depend_on_the_offset_only():
    side, d = 6, 16
    cos, sin = rotation(side, d)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(d, generator=generator).expand(1, 1, side * side, d) for _ in range(2))
    dots = (rotated(q, cos, sin) @ rotated(k, cos, sin).mT)[0, 0]
    seen = {}
    for i in range(side * side):
        for j in range(side * side):
            offset = (i // side - j // side, i % side - j % side)
            seen.setdefault(offset, []).append(dots[i, j].item())
    for values in seen.values():
        assert max(values) - min(values) < 1e-4
    # And different offsets give different products, rows told from columns.
    means = [sum(values) / len(values) for values in seen.values()]
    assert len({round(mean, 4) for mean in means}) > 0.95 * len(means)
    assert seen[0, 0][0] == pytest.approx((q[0, 0, 0] @ k[0, 0, 0]).item(), rel=1e-5)


def test_rotation_keeps_lengths_and_refuses_odd_widths():
    x = torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotated(x, *rotation(3, 8)).norm(dim=-1), x.norm(dim=-1))
    with pytest.raises(ValueError, match="divisible by 4"):
        rotation(3, 6)


@pytest.mark.parametrize(("channels", "patch", "side"), [(3, 4, 16), (4, 1, 5), (1, 8, 8)])
def test_unpatch_is_the_inverse_of_patches(channels, patch, side):
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    tokens = patches(x, patch)
    assert tokens.shape == (2, (side // patch) ** 2, channels * patch**2)
    assert torch.equal(unpatch(tokens, patch, channels), x)
    # Row by row: the second token is the patch to the right of the first.
    if side > patch:
        assert torch.equal(tokens[:, 1], x[:, :, :patch, patch : 2 * patch].flatten(1))


def test_conv_is_a_convolution():
    conv = stirred(Conv(3, 5, 3))
    x = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    reference = nn.Conv2d(3, 5, 3, padding=1)
    with torch.no_grad():
        reference.weight.copy_(conv.weight.reshape(5, 3, 3, 3))
        reference.bias.copy_(conv.bias)
    torch.testing.assert_close(conv(x), reference(x), rtol=1e-5, atol=1e-5)
    assert Conv(3, 5, 1).weight.shape == (5, 3)


def test_sinusoids():
    x = torch.tensor([0.0, 1.5, -20.0])
    got = sinusoids(x, 8, longest=100, shortest=0.5)
    wavelengths = [100 * (0.5 / 100) ** (j / 3) for j in range(4)]
    for row, value in zip(got.tolist(), x.tolist(), strict=True):
        angles = [2 * math.pi * value / wavelength for wavelength in wavelengths]
        assert row == pytest.approx([math.cos(a) for a in angles] + [math.sin(a) for a in angles], abs=2e-4)


@pytest.mark.parametrize("config", [DIT, UNET], ids=["dit", "unet"])
def test_a_tiny_network_memorises_two_pictures(config):
    net = network(config)
    initialise(net, 0)
    given = words(2)
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(2, config.channels, 16, 16, generator=generator)
    xt = torch.randn(1, config.channels, 16, 16, generator=generator).expand_as(target)
    level = torch.zeros(2)  # only the words tell the two apart
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.mse_loss(net(xt, level, given), target)
        loss.backward()
        optimiser.step()
    # The two targets' own mean would leave 0.5; nothing learned leaves 1.
    assert loss.item() < 0.05


TEXT = TextConfig(vocabulary=50, length=8, width=16, depth=2, heads=2)


def test_text_does_not_depend_on_what_lies_in_padding():
    net = stirred(TextEncoder(TEXT))
    ids = torch.tensor([[1, 7, 9, 0, 0, 0, 0, 0], [1, 3, 4, 5, 6, 7, 8, 9]])
    before = net(ids)
    with torch.no_grad():
        net.embed.weight[0] = 30.0
        net.position[3:] = -20.0
    after = net(ids)
    assert torch.equal(before.tokens[0, :3], after.tokens[0, :3])
    assert torch.equal(before.pooled[0], after.pooled[0])
    assert torch.equal(before.mask, after.mask)
    assert before.mask[0, 0, 0].tolist() == [0, 0, 0] + [-1e4] * 5
    assert not torch.equal(before.pooled[1], after.pooled[1])  # that row has real tokens there


def test_text_reads_every_real_token_and_its_position():
    net = stirred(TextEncoder(TEXT))
    base = net(torch.tensor([[1, 7, 9, 0, 0, 0, 0, 0]])).pooled
    for other in ([1, 9, 7, 0, 0, 0, 0, 0], [1, 7, 8, 0, 0, 0, 0, 0], [1, 7, 9, 9, 0, 0, 0, 0]):
        assert (net(torch.tensor([other])).pooled - base).abs().max() > 1e-3


def test_pooled_is_the_mean_over_real_tokens():
    got = stirred(TextEncoder(TEXT))(torch.tensor([[1, 7, 9, 0, 0, 0, 0, 0]]))
    torch.testing.assert_close(got.pooled[0], got.tokens[0, :3].mean(0))


def test_text_encodings_join_split_and_repeat():
    one, two = words(2, seed=1), words(3, seed=2)
    joined = one.join(two)
    assert [part.shape[0] for part in joined[:3]] == [5, 5, 5]
    assert joined.layout is None
    for i, (source, row) in enumerate([(one, 0), (one, 1), (two, 0), (two, 1), (two, 2)]):
        for got, expected in zip(joined.one(i)[:3], source.one(row)[:3], strict=True):
            assert torch.equal(got, expected)
    repeated = one.one(1).repeat(4)
    for i in range(4):
        assert torch.equal(repeated.one(i).tokens, one.one(1).tokens)
    assert {part.dtype for part in one.to(torch.bfloat16)[:3]} == {torch.bfloat16}
