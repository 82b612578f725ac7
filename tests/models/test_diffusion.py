import hashlib
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from unstir.diffusion.samplers import SAMPLER_NAMES
from unstir.models.description import build, dataclass_from, describe, settings_of
from unstir.models.diffusion import SMALLEST_SIGMA, Batch, Diffusion, DiffusionConfig
from unstir.models.generative import NotFinite, final
from unstir.models.pixels import to_pixels
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.layout import LayoutConfig, layout_loss
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import BadSetting, DiffusionSettings
from unstir.text.tokenizer import Tokenizer, TooLong

CAPTIONS = ["a red circle", "a blue square", "two green triangles", "a circle left of a square"]
TOKENIZER = Tokenizer.train(CAPTIONS * 4, 300)
TEXT = TextConfig(vocabulary=len(TOKENIZER), length=12, width=32, depth=1, heads=2)
DIT = DiTConfig(size=16, channels=4, patch=4, width=32, depth=2, heads=2, bottleneck=16, words=32)
UNET = UNetConfig(
    size=16,
    channels=4,
    patch=2,
    widths=(16, 32),
    blocks=(1, 1),
    attend=(False, True),
    head=16,
    words=32,
    vector=32,
)
NETWORKS = {"dit": DIT, "unet": UNET}
LAYOUT = LayoutConfig(width=16, depth=1, heads=2)


def model_of(network="dit", **options):
    return Diffusion(DiffusionConfig(NETWORKS[network], TEXT, **options), TOKENIZER)


def stirred(network="dit", dtype=torch.float32, **options):
    """A model whose every weight is random, so that words, level and picture all show in its output."""
    model = model_of(network, **options)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype).eval().requires_grad_(False)


def test_describe_and_build_are_inverse():
    for network in NETWORKS:
        model = model_of(network, schedule="cosine", prediction="v", loss="x0", sigma_data=0.4)
        text = json.dumps(describe(model))
        again = build(json.loads(text))
        assert again.config == model.config
        assert again.tokenizer.json == model.tokenizer.json
        assert json.dumps(describe(again)) == text
        shapes = {name: value.shape for name, value in model.named_parameters()}
        assert {name: value.shape for name, value in again.named_parameters()} == shapes


def changed(path, value):
    description = json.loads(json.dumps(describe(model_of())))
    inner = description
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return description


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "no kind"),
        ({"kind": "tea"}, "'tea'"),
        ({"kind": "diffusion"}, "no configuration or no tokenizer"),
        (changed(["kind"], "os.system"), "os.system"),
        (changed(["config", "network", "kind"], "mamba"), "'mamba'; there are: dit, unet"),
        (changed(["config", "network", "kind"], None), "there are: dit, unet"),
        (changed(["config", "network", "gadget"], 1), "DiTConfig has no gadget"),
        (changed(["config", "later"], 1), "DiffusionConfig has no later"),
        (changed(["config", "network"], {"kind": "dit", "size": 16}), "channels"),
        (changed(["config", "network", "size"], 18), "multiple of the patch"),
        (changed(["config", "schedule"], "sigmoid"), "'sigmoid'"),
        (changed(["config", "prediction"], "score"), "'score'"),
        (changed(["config", "loss"], "l1"), "'l1'"),
        (changed(["config", "prediction"], "eps"), "eps cannot be predicted on Flow"),
    ],
)
def test_unknown_kinds_raise(description, message):
    with pytest.raises(ValueError, match=message):
        build(description)


def test_settings_of_keeps_defaults_and_makes_tuples():
    assert settings_of(DiffusionSettings, {}) == DiffusionSettings()
    known = settings_of(DiffusionSettings, {"steps": 3, "interval": [0.1, 0.9]})
    assert known == DiffusionSettings(steps=3, interval=(0.1, 0.9))
    with pytest.raises(ValueError, match="DiffusionSettings has no cfg"):
        settings_of(DiffusionSettings, {"cfg": 3})
    with pytest.raises(ValueError, match="steps must be 1 to"):
        settings_of(DiffusionSettings, {"steps": 0})
    with pytest.raises(ValueError, match="size"):
        dataclass_from(DiTConfig, {"channels": 3})


def batch_of(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(count, 4, 16, 16, generator=generator) * 2 - 1
    ids = torch.tensor(TOKENIZER.encode(CAPTIONS, 12) + TOKENIZER.encode([""], 12))[:count]
    return Batch(x0, ids), torch.randn(x0.shape, generator=generator)


class Answers(nn.Module):
    """In place of the network: says what it is told to."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, xt, level, words):
        return self.out


COMBINATIONS = [
    (schedule, prediction)
    for schedule in ("flow", "cosine", "linear-beta", "sub-vp", "variance-exploding")
    for prediction in ("x0", "eps", "v", "velocity", "edm")
    if not (prediction == "eps" and schedule in ("flow", "cosine"))
]


@pytest.mark.parametrize(("schedule", "prediction"), COMBINATIONS)
def test_the_loss_of_the_exact_prediction_is_zero(schedule, prediction):
    model = model_of(schedule=schedule, prediction=prediction)
    initialise(model, 0)
    batch, eps = batch_of()
    t = torch.tensor([0.05, 0.3, 0.5, 0.8, 1.0])
    alpha, sigma = (f(t.double()).float().reshape(-1, 1, 1, 1) for f in (model.schedule.alpha, model.schedule.sigma))
    xt = alpha * batch.x0 + sigma * eps
    model.network = Answers(model.prediction.from_x0(batch.x0, xt, alpha, sigma))
    loss = model.loss_at(batch, t, eps)
    assert loss.shape == (5,)
    # Rounding of float32, through a sigma of up to 80 and 1/alpha of up to 151.
    assert loss.max().item() < 1e-6
    model.network = Answers(model.network.out + 0.1)
    assert model.loss_at(batch, t, eps).min().item() > 1e-6


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
@pytest.mark.parametrize("loss", ["x0", "v", "velocity", "edm"])
def test_the_loss_is_the_error_in_the_space_of_the_loss(schedule, loss):
    model = model_of(schedule=schedule, loss=loss, sigma_data=0.6)
    initialise(model, 0)
    batch, eps = batch_of()
    t = torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0])
    guess = batch.x0 + 0.2 * torch.randn(batch.x0.shape, generator=torch.Generator().manual_seed(4))
    model.network = Answers(guess)
    alpha, sigma = (f(t.double()).float().reshape(-1, 1, 1, 1) for f in (model.schedule.alpha, model.schedule.sigma))
    xt = alpha * batch.x0 + sigma * eps
    # The error of x0 seen as an error of the target, written out: 1/b² of each prediction.
    weight = {
        "x0": torch.ones_like(alpha),
        "v": (alpha**2 + sigma**2) ** 2 / sigma**2,
        "velocity": (alpha + sigma) ** 2 / sigma**2,
        "edm": (sigma**2 + alpha**2 * 0.6**2) / (0.6 * sigma) ** 2,
    }[loss]
    expected = (weight * (guess - batch.x0).square()).mean((1, 2, 3))
    torch.testing.assert_close(model.loss_at(batch, t, eps), expected, rtol=1e-5, atol=1e-7)
    ours = model.loss_space.from_x0(guess, xt, alpha, sigma) - model.loss_space.from_x0(batch.x0, xt, alpha, sigma)
    torch.testing.assert_close(model.loss_at(batch, t, eps), ours.square().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_the_weight_is_held_near_the_picture():
    model = model_of()
    initialise(model, 0)
    batch, eps = batch_of(2)
    model.network = Answers(batch.x0 + 0.1)
    for t in (0.0, 1e-4, 0.04):
        loss = model.loss_at(batch, torch.full((2,), t), eps)
        expected = 0.01 * ((1 - t + SMALLEST_SIGMA) / SMALLEST_SIGMA) ** 2
        assert loss.tolist() == pytest.approx([expected] * 2, rel=1e-4)


def test_losses_are_a_function_of_the_generator():
    model = stirred()
    batch, _ = batch_of()

    def loss(seed):
        ((name, value),) = model.losses(batch, torch.Generator().manual_seed(seed))
        assert name == "main"
        assert value.shape == ()
        return value.item()

    torch.manual_seed(0)
    first = loss(3)
    torch.manual_seed(1)
    assert loss(3) == first
    assert loss(4) != first
    assert list(model.parts()) == ["main"]


def test_times_are_drawn_as_configured():
    model = model_of(t_mean=0.4, t_std=1.3)
    draw = model.sample_times(torch.zeros(50_000, 1), torch.Generator().manual_seed(0))
    logit = torch.logit(draw.t.double())
    assert logit.mean().item() == pytest.approx(0.4, abs=5 * 1.3 / math.sqrt(50_000))
    assert logit.std().item() == pytest.approx(1.3, abs=5 * 1.3 / math.sqrt(100_000))
    assert draw.eps.shape == (50_000, 1)
    assert abs(torch.corrcoef(torch.stack([draw.t, draw.eps[:, 0]]))[0, 1]) < 5 / math.sqrt(50_000)


def settings(**changes):
    return DiffusionSettings(**({"steps": 3, "sampler": "ddim"} | changes))


def sampled(model, prompts, seeds, **changes):
    *_, last = model.sample(model.encode(prompts), seeds, settings(**changes))
    return last.x0


def digests(x0):
    return [
        (hashlib.sha256(picture.numpy().tobytes()).hexdigest(), hashlib.sha256(pixels.numpy().tobytes()).hexdigest())
        for picture, pixels in zip(x0, to_pixels(x0), strict=True)
    ]


PROMPT, SEED = "a red circle", 1234
STRANGERS = ["a blue square", "", "two green triangles", "a circle left of a square"]


def crowd(places):
    """Prompts and seeds of a batch of 16: the picture at these places, strangers at all others."""
    prompts = [PROMPT if i in places else STRANGERS[i % 4] for i in range(16)]
    return prompts, [SEED if i in places else 5000 + 7 * i for i in range(16)]


@pytest.mark.parametrize("guidance_scale", [3.0, 1.0])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_picture_does_not_depend_on_its_neighbours(network, dtype, guidance_scale):
    """Bit for bit, floats and pixels, for every sampler, at every place of a batch of 16."""
    model = stirred(network, dtype)
    samplers = SAMPLER_NAMES if guidance_scale != 1 else ["dpmpp_2m"]
    for sampler in samplers:
        changes = {"sampler": sampler, "guidance_scale": guidance_scale}
        (alone,) = digests(sampled(model, [PROMPT], [SEED], **changes))
        evens = set(range(0, 16, 2))
        for places in (evens, set(range(16)) - evens):
            together = digests(sampled(model, *crowd(places), **changes))
            assert [i for i in range(16) if together[i] == alone] == sorted(places), sampler
            assert len(set(together)) == 9, sampler  # eight strangers, all different


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_picture_alone_among_fifteen_strangers(network, dtype, sampler):
    model = stirred(network, dtype)
    (alone,) = digests(sampled(model, [PROMPT], [SEED], sampler=sampler))
    for place in range(16):
        together = digests(sampled(model, *crowd({place}), sampler=sampler))
        assert [i for i in range(16) if together[i] == alone] == [place]


def test_all_the_settings_keep_pictures_independent():
    model = stirred()
    changes = {"sampler": "sde", "steps": 4, "interval": (0.3, 0.9), "threshold": 0.9, "shift": 2.0}
    changes |= {"spacing": "logsnr", "negative": "a blue square"}
    (alone,) = digests(sampled(model, [PROMPT], [SEED], **changes))
    together = digests(sampled(model, *crowd({11}), **changes))
    assert [i for i in range(16) if together[i] == alone] == [11]


def test_prompt_seed_and_every_setting_matter():
    model = stirred()
    base = sampled(model, [PROMPT], [SEED])
    assert torch.equal(base, sampled(model, [PROMPT], [SEED]))
    assert not torch.equal(base, sampled(model, ["a blue square"], [SEED]))
    assert not torch.equal(base, sampled(model, [PROMPT], [SEED + 1]))
    for change in (
        {"steps": 4},
        {"sampler": "heun"},
        {"guidance_scale": 5.0},
        {"interval": (0.5, 0.6)},
        {"spacing": "logsnr"},
        {"shift": 2.0},
        {"threshold": 0.8},
        {"eta": 1.0},
        {"negative": "a blue square"},
    ):
        assert not torch.equal(base, sampled(model, [PROMPT], [SEED], **change)), change
    assert sampled(model, [PROMPT], [SEED], size=24).shape == (1, 4, 24, 24)


def test_eta_is_what_lies_between_ddim_and_ddpm():
    model = stirred()
    ddpm = sampled(model, [PROMPT], [SEED], sampler="ddpm")
    torch.testing.assert_close(sampled(model, [PROMPT], [SEED], eta=1.0), ddpm)


def test_predictor_and_corrector():
    """Each is a step and a frame; the corrector's settings matter, and belong to it."""
    model = stirred()
    changes = {"sampler": "pc", "guidance_scale": 1.0}
    one = sampled(model, [PROMPT], [SEED], **changes)
    assert torch.equal(one, sampled(model, [PROMPT], [SEED], **changes, corrector_snr=0.16, corrector_steps=1))
    ddpm = sampled(model, [PROMPT], [SEED], sampler="ddpm", guidance_scale=1.0)
    assert torch.equal(ddpm, sampled(model, [PROMPT], [SEED], **changes, corrector_steps=0))
    for change in ({"corrector_steps": 2}, {"corrector_snr": 0.05}):
        assert not torch.equal(one, sampled(model, [PROMPT], [SEED], **changes, **change))
    frames = list(model.draw([PROMPT], [SEED], settings(**changes, steps=4, corrector_steps=2)))
    assert [(frame.i, frame.total) for frame in frames] == [(i, 10) for i in range(10)]
    assert [frame.t for frame in frames] == [1.0, *[t for t in (0.75, 0.5, 0.25) for _ in range(3)]]
    pixels = torch.from_numpy(frames[-1].picture.copy())
    (*_, varied) = model.vary(pixels, [3], settings(**changes, steps=4), strength=0.5)
    assert (varied.i, varied.total) == (2, 3)
    for bad in ({"corrector_steps": 2}, {"corrector_snr": 0.1}):
        with pytest.raises(BadSetting, match="belongs to the sampler pc, and ddim is asked for"):
            settings(**bad)
    back = settings(**changes, corrector_steps=3).by_ddim()
    assert (back.sampler, back.corrector_steps) == ("ddim", 1)


def test_pictures_lie_within_range():
    model = stirred()
    for threshold in (1.0, 0.8):
        assert sampled(model, [PROMPT], [SEED], guidance_scale=20.0, threshold=threshold).abs().max() <= 1


def test_the_callers_mode_is_left_alone_between_steps():
    """`with no_grad()` inside a generator would leak into the code of whoever iterates, or for good if they stop."""
    model = stirred().requires_grad_()
    steps = model.sample(model.encode([PROMPT]), [SEED], DiffusionSettings(steps=3))
    assert not next(steps).x0.requires_grad
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    weight = torch.ones(2, requires_grad=True)
    (weight * 2).sum().backward()
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()


def test_settings_that_do_not_fit_raise():
    model = stirred()
    cond = model.encode([PROMPT])
    for bad in ({"sampler": "plms"}, {"steps": 0}, {"spacing": "odd"}, {"threshold": 0.0}, {"interval": (0.8, 0.2)}):
        with pytest.raises(BadSetting) as caught:
            DiffusionSettings(**bad)
        assert [caught.value.name] == list(bad)
    # Refused at once, not when the first step is asked for.
    with pytest.raises(ValueError, match="2 seeds for 1 prompts"):
        model.sample(cond, [0, 1])
    with pytest.raises(ValueError, match="2 seeds for 1 prompts"):
        model.draw([PROMPT], [0, 1])
    for read in (model.encode, model.check_prompts, lambda texts: model.draw(texts, [0])):
        with pytest.raises(TooLong):
            read(["a red circle " * 10])


# Frames


def test_the_frames_of_a_drawing():
    model = stirred()
    frames = list(model.draw(*crowd({3}), settings(steps=4)))
    assert [(frame.i, frame.total) for frame in frames] == [(i, 4) for i in range(4)]
    steps = list(model.sample(model.encode(crowd({3})[0]), crowd({3})[1], settings(steps=4)))
    assert [frame.t for frame in frames] == [step.t for step in steps]
    for frame, step in zip(frames, steps, strict=True):
        for pixels, tensor in ((frame.picture, step.x0), (frame.state, step.xt)):
            assert pixels.dtype == np.uint8
            assert pixels.shape == (16, 16, 16, 4)
            assert np.array_equal(pixels, to_pixels(tensor).numpy())
    assert np.array_equal(final(model.draw(*crowd({3}), settings(steps=4))), frames[-1].picture)


def test_drawn_together_they_are_nearly_the_same():
    model = stirred()
    exact, fast = (final(model.draw(*crowd({3}), settings(), exact=exact)) for exact in (True, False))
    assert np.abs(exact.astype(int) - fast).max() <= 1
    calls = []
    network = model.network
    model.network = Counted(network, calls)
    for exact, largest in ((True, 2), (False, 32)):  # with and without the words at once
        calls.clear()
        final(model.draw(*crowd({3}), settings(), exact=exact))
        assert max(calls) == largest


class Counted(nn.Module):
    def __init__(self, network, calls):
        super().__init__()
        self.inner, self.calls = network, calls

    def forward(self, xt, level, words):
        self.calls.append(len(xt))
        return self.inner(xt, level, words)


def test_no_picture_is_said_and_not_shown():
    model = stirred()
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    frames = model.draw([PROMPT], [SEED], settings())
    with pytest.raises(NotFinite, match="step 1 gives NaN"):
        next(frames)


def test_texts_are_encoded_alone():
    model = stirred(dtype=torch.bfloat16)
    together = model.encode([PROMPT, *STRANGERS])
    for i, text in enumerate([PROMPT, *STRANGERS]):
        for a, b in zip(model.encode([text]), together.one(i), strict=True):
            assert a is b is None or torch.equal(a, b)


def test_shape_and_device():
    model = model_of("unet")
    assert model.shape == (4, 16, 16)
    assert model.device == torch.device("cpu")
    assert model.tokenize(CAPTIONS).shape == (4, 12)


def test_the_loss_of_a_model_with_a_layout_predictor():
    plain, model = model_of(), model_of(layout=LAYOUT)
    for one in (plain, model):
        initialise(one, 0)
    batch, _ = batch_of()
    layout = torch.full((*batch.ids.shape, 3), float("nan"))
    layout[:, 1] = 0.5
    known = batch._replace(layout=layout)
    ((_, one),) = plain.losses(known, torch.Generator().manual_seed(1))
    ((_, other),) = model.losses(known, torch.Generator().manual_seed(1))
    ((_, unknown),) = model.losses(batch, torch.Generator().manual_seed(1))
    assert unknown == one, "one thing alone has no attention bias"
    apart = layout.clone()
    apart[:, 1], apart[:, 3] = torch.tensor([0.25, 0.5, 0.5]), torch.tensor([0.75, 0.5, 0.5])
    ((_, without),) = plain.losses(batch._replace(layout=apart), torch.Generator().manual_seed(1))
    assert without == one, "a model that predicts no layout when it draws must not learn by one"
    assert model.condition(batch._replace(layout=apart)).layout is apart
    error = layout_loss(model.predict_layout(batch.ids), layout)
    assert other.item() == pytest.approx((one + error).item())
    other.backward()
    assert model.layout.embed.weight.grad.norm() > 0
    assert build(describe(model)).config == model.config


@pytest.mark.parametrize("network", NETWORKS)
def test_patches_attend_where_things_lie(network):
    """The layout decides the picture; of no word, or the same for all, it changes nothing."""
    model, plain = stirred(network, layout=LAYOUT), stirred(network)
    assert [name for name in dict(model.named_parameters()) if name.startswith("layout.")]
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("layout.")})
    xt, t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([0.7])
    words = plain.encode(["a circle left of a square"])
    assert words.layout is None
    want = plain.denoiser()(xt, t, words)
    layout = torch.full((1, 12, 3), float("nan"))
    assert torch.equal(model.denoiser()(xt, t, words._replace(layout=layout)), want)
    layout[:, 1:3], layout[:, 5:7] = torch.tensor([0.5, 0.5, 0.9]), torch.tensor([0.52, 0.5, 0.9])
    assert torch.equal(model.denoiser()(xt, t, words._replace(layout=layout)), want)
    layout[:, 1:3], layout[:, 5:7] = torch.tensor([0.25, 0.5, 0.5]), torch.tensor([0.75, 0.5, 0.5])
    beside = model.denoiser()(xt, t, words._replace(layout=layout))
    layout[:, 1:3], layout[:, 5:7] = layout[:, 5:7].clone(), layout[:, 1:3].clone()
    swapped = model.denoiser()(xt, t, words._replace(layout=layout))
    assert not torch.allclose(beside, want, atol=1e-4)
    assert not torch.allclose(beside, swapped, atol=1e-4)


def test_the_layout_is_predicted_from_the_words():
    model = stirred(layout=LAYOUT)
    with torch.no_grad():
        model.layout.out.bias[0] = 1.0
    words = model.encode(["a circle left of a square", "two green triangles"])
    assert words.layout.shape == (2, 12, 3)
    alone = model.encode(["two green triangles"])
    assert torch.equal(
        words.layout[1:],
        alone.layout,
    )
    found = model.predict_layout(model.tokenize(["two green triangles"]))
    assert torch.equal(alone.layout.isnan().any(-1), found[..., 0] < 0)
