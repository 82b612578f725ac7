"""Parts with their own training: a small GAN and a model with an EMA codebook, killed and resumed to the same bits."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from unstir.data.digits import digit_pictures
from unstir.models.pixels import to_model
from unstir.train import kinds
from unstir.train.batches import picture_batches
from unstir.train.config import PartConfig, TrainConfig
from unstir.train.ema import Average
from unstir.train.loop import training_loop
from unstir.train.run import Run

SIZE = 8 * 8 * 3


class TinyGan(nn.Module):
    """Generator and critic, each trained by its own loss."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, SIZE), nn.Tanh())
        self.critic = nn.Sequential(nn.Linear(SIZE, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    @property
    def device(self):
        return self.generator[0].weight.device

    def parts(self):
        return {"critic": self.critic, "generator": self.generator}

    def exported(self):
        return self.generator

    def compile_loss(self): ...

    def batch(self, pixels, captions):
        return to_model(pixels).flatten(1)

    def losses(self, batch, rng):
        z = torch.randn(len(batch), 8, generator=rng)
        yield "critic", F.softplus(self.critic(self.generator(z).detach()) - self.critic(batch)).mean()
        yield "generator", F.softplus(self.critic(batch) - self.critic(self.generator(z))).mean()


class Codebook(nn.Module):
    """Rows of pixels snap to the nearest of 8 codes, which follow their rows by an exponential average."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(24, 6), nn.Linear(6, 24)
        self.register_buffer("codes", torch.linspace(-1, 1, 48).view(8, 6))
        self.register_buffer("used", torch.ones(8, dtype=torch.int64))

    @property
    def device(self):
        return self.codes.device

    def parts(self):
        return {"main": self}

    def exported(self):
        return self

    def compile_loss(self): ...

    def batch(self, pixels, captions):
        return to_model(pixels).permute(0, 2, 3, 1).reshape(-1, 24)

    def losses(self, batch, rng):
        z = self.encoder(batch).float()
        nearest = torch.cdist(z.detach(), self.codes).argmin(1)
        if self.training:
            with torch.no_grad():
                for code in nearest.unique():
                    self.codes[code].lerp_(z[nearest == code].mean(0), 0.1)
                self.used += torch.bincount(nearest, minlength=8)
        snapped = z + (self.codes[nearest] - z).detach()
        yield "main", F.mse_loss(self.decoder(snapped).float(), batch) + 0.25 * F.mse_loss(z, self.codes[nearest])


MODELS = {"gan": TinyGan, "codebook": Codebook}
PARTS = (
    PartConfig("critic", optimiser="adamw", adamw_lr=2e-3, betas=(0.0, 0.9), clip=math.inf, ema=0.0),
    PartConfig("generator", optimiser="adamw", adamw_lr=1e-3, betas=(0.0, 0.9)),
)
CONFIG = TrainConfig(images=480, batch_size=8, warmup=16, save_every=48, log_every=40, sample_every=160)

for name in MODELS:
    kinds.register(f"tiny {name}", kinds.Training())


@pytest.fixture(scope="module")
def pictures():
    return digit_pictures().take(range(64))


def run_of(name, folder, pictures, config=CONFIG):
    torch.manual_seed(0)
    model = MODELS[name]()
    config = replace(config, parts=PARTS) if name == "gan" else config
    return Run(folder, model, pictures, config, picture_batches(model, pictures, config), f"tiny {name}")


def state(run):
    return {
        **{f"model/{n}": v.clone() for n, v in run.model.state_dict().items()},
        **{f"average/{n}": v.clone() for n, v in run.average.weights.items()},
        **{f"{part}/{n}": v.clone() for part, o in run.optimisers.items() for n, v in o.state().items()},
    }


class Killed(BaseException):
    """What a kill looks like from inside."""


def killer(after):
    """Asked after every step: raises at the step after so many."""
    steps = itertools.count(1)

    def die():
        if next(steps) > after:
            raise Killed
        return False

    return die


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("after", [1, 7, 31])
def test_killed_and_resumed_to_the_same_bits(name, after, pictures, tmp_path):
    whole = run_of(name, tmp_path / "whole", pictures)
    list(training_loop(whole))
    folder = tmp_path / "killed"
    for _ in itertools.count():
        run = run_of(name, folder, pictures)
        try:
            *_, last = training_loop(run, stop=killer(after))
        except Killed:
            after += 5  # always a little farther than before, or it would never end
            continue
        assert last.event == "done"
        break
    ours, theirs = state(run), state(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert run.images_seen == whole.images_seen == 480


def test_each_part_is_trained_as_it_is_told(pictures, tmp_path):
    run = run_of("gan", tmp_path, pictures)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    log = [progress for progress in training_loop(run) if progress.event == "log"]
    assert len(log) == 12
    same = [name for name, p in run.model.named_parameters() if torch.equal(p, before[name])]
    assert same == ["critic.2.bias"], "a relativistic loss does not change with a constant"
    # The critic keeps no average; the generator does, and it alone is exported.
    assert all(name.startswith("generator.") for name in run.average.weights)
    model, weights = run.exported()
    assert model is run.model.generator
    assert weights.keys() == model.state_dict().keys()
    assert torch.equal(weights["0.weight"], run.average.weights["generator.0.weight"])
    assert not torch.equal(weights["0.weight"], model[0].weight)
    lines = [line for line in run_lines(tmp_path) if "loss" in line]
    assert all({"loss of critic", "loss of generator"} <= line.keys() for line in lines)
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss of critic"] + line["loss of generator"])


def run_lines(folder):
    from unstir.train.log import Log

    return Log.lines(folder)


def test_an_optimiser_has_its_own_rate_and_betas(pictures, tmp_path):
    run = run_of("gan", tmp_path, pictures)
    groups = {name: optimiser._optimisers[0][0].param_groups[0] for name, optimiser in run.optimisers.items()}
    assert groups["critic"]["betas"] == (0.0, 0.9)
    run.optimisers["critic"].step(0.5)
    assert groups["critic"]["lr"] == pytest.approx(1e-3)


def test_a_part_that_does_not_exist_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="no part discriminator; it has: main"):
        run_of("codebook", tmp_path, pictures, replace(CONFIG, parts=(PartConfig("discriminator"),)))
    with pytest.raises(ValueError, match="configured twice"):
        TrainConfig(images=1, parts=(PartConfig("a"), PartConfig("a")))


def test_buffers_are_kept_and_exported(pictures, tmp_path):
    run = run_of("codebook", tmp_path, pictures)
    list(training_loop(run))
    assert run.model.used.sum() == 8 + 480 * 8  # eight rows a picture, counted in training and nowhere else
    _, weights = run.exported()
    assert torch.equal(weights["codes"], run.model.codes)
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert torch.equal(kept["model/codes"], run.model.codes)


def test_a_run_can_be_reset(pictures, tmp_path):
    run, fresh = run_of("codebook", tmp_path / "a", pictures), run_of("codebook", tmp_path / "b", pictures)
    start = {name: value.clone() for name, value in run.model.state_dict().items()}
    for _ in range(3):
        run.step()
    run.model.load_state_dict(start)
    run.reset()
    for _ in range(5):
        run.step()
        fresh.step()
    ours, theirs = state(run), state(fresh)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_evaluation_leaves_no_trace(pictures, tmp_path):
    run = run_of("codebook", tmp_path, replace(CONFIG, validation=8) and pictures)
    run.step()
    before = state(run)
    with run.evaluating() as model:
        assert not model.training
        list(model.losses(model.batch(torch.from_numpy(pictures.pixels[:8].copy()), []), None))
        assert torch.equal(model.encoder.weight, run.average.weights["encoder.weight"])
    assert run.model.training
    after = state(run)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_average_of_a_part_has_its_own_window():
    config = TrainConfig(images=1, parts=(PartConfig("critic", ema=0.0), PartConfig("generator", ema=0.1)))
    model = TinyGan()
    average = Average(model, config)
    wide = Average(model, replace(config, parts=(PartConfig("critic", ema=0.0), PartConfig("generator", ema=0.02))))
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    for one in (average, wide):
        one.update(model, 80, 8)
    ours, theirs = average.weights["generator.0.bias"], wide.weights["generator.0.bias"]
    assert (ours < theirs).all(), "the wider window follows more slowly"
