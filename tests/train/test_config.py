"""The learning rate over a run, and configurations that are refused."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstir.models.description import dataclass_from
from unstir.train.config import PartConfig, TrainConfig

CONFIG = TrainConfig(images=10_000, batch_size=10, warmup=1_000, cooldown=0.25)


def test_rises_linearly_from_the_first_step():
    assert CONFIG.lr_factor(0) == pytest.approx(0.01)
    assert CONFIG.lr_factor(490) == pytest.approx(0.5)
    assert CONFIG.lr_factor(990) == 1.0


@given(st.integers(99, 750))
def test_is_flat_between(step):
    assert CONFIG.lr_factor(10 * step) == 1.0


def test_falls_linearly_to_almost_nothing():
    assert CONFIG.lr_factor(8_750) == pytest.approx(0.5)
    assert CONFIG.lr_factor(9_990) == pytest.approx(10 / 2_500)  # the last step still does something
    assert CONFIG.lr_factor(10_000) == 0.0


def test_never_negative_where_the_last_batch_overshoots():
    config = TrainConfig(images=95, batch_size=10, cooldown=1.0, warmup=0)
    assert config.total_steps == 10
    assert config.lr_factor(100) == 0.0


@given(
    images=st.integers(1, 10**9),
    batch=st.integers(1, 4096),
    warmup=st.integers(0, 10**7),
    cooldown=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_is_a_share_and_starts_above_zero(images, batch, warmup, cooldown, share):
    config = TrainConfig(images=images, batch_size=batch, warmup=warmup, cooldown=cooldown)
    assert 0 <= config.lr_factor(int(images * share)) <= 1
    assert config.lr_factor(0) > 0


def test_without_cooldown_it_stays():
    assert TrainConfig(images=100, batch_size=1, warmup=0, cooldown=0.0).lr_factor(99) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": 0},
        {"images": 5, "batch_size": 0},
        {"images": 5, "optimiser": "sgd"},
        {"images": 5, "precision": "fp16"},
        {"images": 5, "cooldown": 1.5},
        {"images": 5, "cooldown": float("nan")},
        {"images": 5, "budget": 0.0},
        {"images": 5, "budget": float("inf")},
        {"images": 5, "parts": (PartConfig("a"), PartConfig("a"))},
        {"images": 5, "parts": (PartConfig("a", optimiser="sgd"),)},
    ],
)
def test_refused(wrong):
    with pytest.raises(
        ValueError,
        match=next(reversed(wrong)).split("_")[0].removesuffix("s") if "parts" not in wrong else "part|optimiser",
    ):
        TrainConfig(**wrong)


def test_parts_have_their_own_settings():
    critic = PartConfig("critic", optimiser="adamw", adamw_lr=3e-4, betas=(0.0, 0.9), ema=0.0)
    config = TrainConfig(images=8, adamw_lr=1e-3, clip=0.5, parts=(critic,))
    assert (config.part("generator").adamw_lr, config.part("generator").optimiser) == (1e-3, "muon")
    part = config.part("critic")
    assert (part.optimiser, part.adamw_lr, part.betas, part.ema) == ("adamw", 3e-4, (0.0, 0.9), 0.0)
    assert part.clip == 0.5  # as for all
    config.check_parts(["generator", "critic"])
    with pytest.raises(ValueError, match="no part critic; it has: main"):
        config.check_parts(["main"])
    assert dataclass_from(TrainConfig, json.loads(json.dumps(asdict(config)))) == config
