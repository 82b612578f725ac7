"""The two encoders of CLIP, against Hugging Face's and against their formulas."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from unstir.nn.clip_text import ClipText, ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.pre_norm_block import PreNormBlock, SelfAttention, activation
from unstir.nn.vision import VisionConfig, VisionTransformer

VISION = VisionConfig(size=16, channels=4, patch=4, width=32, depth=2, heads=2, mlp=48)
TEXT = ClipTextConfig(vocabulary=50, length=8, width=32, depth=2, heads=2, mlp=48)
END = 49


def stirred(module, seed=0):
    """Initialised, and then every weight moved, so that none is zero or one any more."""
    initialise(module, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def pictures(config, count=3):
    shape = (count, config.channels, config.size, config.size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_pictures_become_vectors(pool):
    net = stirred(VisionTransformer(replace(VISION, pool=pool)))
    x = pictures(VISION)
    out = net(x)
    assert out.shape == (3, 32)
    assert (out[0] - out[1]).abs().max() > 0.01
    # A picture alone, as in company, and every corner of it read.
    torch.testing.assert_close(net(x[1:2]), out[1:2], rtol=1e-4, atol=1e-5)
    for row, column in ((0, 0), (15, 0), (0, 15), (15, 15)):
        changed = x.clone()
        changed[:, :, row, column] += 1
        assert (net(changed) - out).abs().max() > 1e-4


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_pictures_differ_from_the_start(pool):
    """Otherwise a contrastive loss has no gradient."""
    net = VisionTransformer(replace(VISION, pool=pool))
    initialise(net, 0)
    out = F.normalize(net(pictures(VISION)), dim=-1)
    assert (out @ out.T)[0, 1] < 0.99
    assert net.norm.weight.eq(1).all()
    assert net.norm.bias.eq(0).all()


def test_pictures_are_normalised_first():
    mean, std = (0.1, 0.5, 0.9, 0.4), (0.2, 0.3, 0.25, 0.5)
    net = stirred(VisionTransformer(replace(VISION, mean=mean, std=std)))
    plain = VisionTransformer(VISION)
    plain.load_state_dict(net.state_dict())  # they are constants, not weights
    x = pictures(VISION)
    by_hand = ((x + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(net(x), plain(by_hand), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused():
    net = VisionTransformer(VISION)
    for shape in ((1, 3, 16, 16), (1, 4, 16, 12), (1, 4, 32, 32)):
        with pytest.raises(ValueError, match="reads pictures of shape"):
            net(torch.zeros(shape))
    for wrong in ({"size": 18}, {"pool": "max"}, {"mean": (0.5,)}, {"mean": (0.5,), "std": (0.5,)}):
        with pytest.raises(ValueError, match=r"multiple|pool|mean and std"):
            replace(VISION, **wrong)
    with pytest.raises(ValueError, match="pool"):
        replace(TEXT, pool="class")
    with pytest.raises(ValueError, match="heads"):
        VisionTransformer(replace(VISION, heads=5))
    with pytest.raises(ValueError, match="activation"):
        ClipText(replace(TEXT, activation="relu"))


def test_activations():
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(activation("quick_gelu")(x), x / (1 + torch.exp(-1.702 * x)))
    torch.testing.assert_close(activation("gelu")(x), x * (1 + torch.erf(x / 2**0.5)) / 2)


def test_attention_against_its_formula():
    module = stirred(SelfAttention(16, 2))
    x = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).split(16, dim=-1)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        weights = torch.softmax(q[..., part] @ k[..., part].mT / 8**0.5, -1)
        heads.append(weights @ v[..., part])
    expected = F.linear(torch.cat(heads, -1), module.out.weight, module.out.bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_one_token_alone_is_that_of_the_whole_row(causal):
    """With the same gradients."""
    block = stirred(PreNormBlock(16, 2, 24, "gelu", causal))
    x = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0))
    token = torch.tensor([0, 5, 2])
    bias = None if causal else torch.zeros(3, 6).masked_fill(torch.arange(6) > 4, -1e4)[:, None, None]
    one, other = block(x, bias, token), block(x, bias)[range(3), token]
    assert one.shape == (3, 16)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(out.square().sum(), list(block.parameters())) for out in (one, other)]
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


IDS = torch.tensor([[1, 7, 9, END, 0, 0, 0, 0], [1, 3, 4, 5, 6, 7, 8, END], [2, END, 4, 4, END, 0, 0, 0]])


def test_causal_text_sees_no_later_token():
    net = stirred(ClipText(replace(TEXT, causal=True, pool="first_end", end=END)))
    out = net(IDS)
    assert out.shape == (3, 32)
    after = IDS.clone()
    after[0, 4:] = torch.tensor([3, END, 2, 7])
    after[2, 2:] = 11
    torch.testing.assert_close(net(after)[[0, 2]], out[[0, 2]], rtol=1e-5, atol=1e-5)
    before = IDS.clone()
    before[:, 0] = 12
    assert (net(before) - out).abs().amax(1).min() > 1e-3
    # The largest id is this end, and of two the first.
    by_argmax = ClipText(replace(TEXT, causal=True, pool="argmax"))
    by_argmax.load_state_dict(net.state_dict())
    assert torch.equal(by_argmax(IDS), out)


def test_text_does_not_depend_on_padding():
    net = stirred(ClipText(TEXT))
    out = net(IDS)
    torch.testing.assert_close(net(IDS[2:, :5]), out[2:], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        net.embed.weight[0] = 30.0
    assert torch.equal(net(IDS), out)
    # And every real token is read, also from behind.
    for position in range(4):
        changed = IDS.clone()
        changed[0, position] = 20
        assert (net(changed) - out)[0].abs().max() > 1e-3


def take_block(block, theirs, prefix):
    """One block of Hugging Face's into one of ours."""
    get = {name.removeprefix(prefix): value for name, value in theirs.items() if name.startswith(prefix)}
    state = {
        "attention.qkv.weight": torch.cat([get[f"self_attn.{n}_proj.weight"] for n in "qkv"]),
        "attention.qkv.bias": torch.cat([get[f"self_attn.{n}_proj.bias"] for n in "qkv"]),
    }
    names = {
        "self_attn.out_proj": "attention.out",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "mlp.fc1": "mlp.up",
        "mlp.fc2": "mlp.down",
    }
    for their_name, name in names.items():
        for kind in ("weight", "bias"):
            state[f"{name}.{kind}"] = get[f"{their_name}.{kind}"]
    block.load_state_dict(state)


@pytest.fixture(scope="module")
def published():
    """A small model of Hugging Face's with random weights, and its weights by name."""
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=shape | {"vocab_size": 50, "max_position_embeddings": 8, "eos_token_id": END, "bos_token_id": 48},
        vision_config=shape | {"image_size": 16, "patch_size": 4, "num_channels": 3},
        projection_dim=24,
    )
    model = stirred(transformers.CLIPModel(config).eval())
    return model, model.state_dict()


@torch.no_grad()
def test_published_picture_encoders_fit_exactly(published):
    model, theirs = published
    ours = VisionTransformer(replace(VISION, channels=3, activation="quick_gelu"))
    head = "vision_model."
    ours.embed.weight.copy_(theirs[f"{head}embeddings.patch_embedding.weight"].flatten(1))
    ours.class_token.copy_(theirs[f"{head}embeddings.class_embedding"])
    ours.position.copy_(theirs[f"{head}embeddings.position_embedding.weight"])
    for name, their_name in (("norm_in", "pre_layrnorm"), ("norm", "post_layernorm")):
        getattr(ours, name).weight.copy_(theirs[f"{head}{their_name}.weight"])
        getattr(ours, name).bias.copy_(theirs[f"{head}{their_name}.bias"])
    for i, block in enumerate(ours.blocks):
        take_block(block, theirs, f"{head}encoder.layers.{i}.")
    x = pictures(ours.config)
    torch.testing.assert_close(ours(x), model.vision_model(x).pooler_output, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_published_text_encoders_fit_exactly(published):
    model, theirs = published
    config = replace(TEXT, activation="quick_gelu", causal=True, pool="first_end", end=END)
    ours, head = ClipText(config), "text_model."
    ours.embed.weight.copy_(theirs[f"{head}embeddings.token_embedding.weight"])
    ours.position.copy_(theirs[f"{head}embeddings.position_embedding.weight"])
    ours.norm.weight.copy_(theirs[f"{head}final_layer_norm.weight"])
    ours.norm.bias.copy_(theirs[f"{head}final_layer_norm.bias"])
    for i, block in enumerate(ours.blocks):
        take_block(block, theirs, f"{head}encoder.layers.{i}.")
    torch.testing.assert_close(ours(IDS), model.text_model(IDS).pooler_output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pool", ["first_end", "argmax", "mean"])
def test_padding_costs_nothing_and_changes_nothing(causal, pool, monkeypatch):
    net = stirred(ClipText(replace(TEXT, causal=causal, pool=pool, end=END)))
    short = IDS[[0, 2]]
    widths = []
    net.embed.register_forward_hook(lambda _, given, __: widths.append(given[0].shape[1]))
    got = net(short), net(IDS)[[0, 2]]
    monkeypatch.setattr(ClipText, "_used_length", lambda self, ids, token: ids.shape[1])
    whole = net(short)
    assert widths == [4 if causal and pool != "mean" else 5, 8, 8]
    for one in got:
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-5)
