"""The scripts beside the icon recipe, on a handful of discs: what they train learns, what is asked is read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.drawing import BATCH, draw_batches
from experiments.icons_guidance import COARSE, SETTINGS, GuidanceSetting, coarse, guided_denoiser
from experiments.icons_layout import KIND as LAYOUT
from experiments.icons_layout import LayoutTraining, layout_accuracy, with_layout_predictor
from experiments.icons_skills import spellchecked
from experiments.icons_step_distillation import STUDENT_STEPS, TEACHER, all_trajectories
from experiments.icons_styles import KIND as STYLES
from experiments.icons_styles import StyleBatch, StyleClassifier, guesses, print_accuracy
from tests.scenes.test_source import RECIPE, things
from unstir.models.generative import final
from unstir.models.pixels import to_model
from unstir.nn.init import initialise
from unstir.scenes.batches import BatchPlanner, drawings_of
from unstir.scenes.planner import SceneMix
from unstir.settings import DiffusionSettings
from unstir.train.batches import BatchSource
from unstir.train.config import TrainConfig
from unstir.train.loop import training_loop
from unstir.train.new_run import new_model
from unstir.train.run import Run


@pytest.fixture(scope="module")
def model():
    text = replace(RECIPE.model.text, vocabulary=400, length=24)
    return new_model(replace(RECIPE, model=replace(RECIPE.model, text=text), source=None), things())


def test_a_reader_learns_from_captions_alone(model, tmp_path):
    assert model.layout is None
    reader = LayoutTraining(with_layout_predictor(model))
    before = {name: value.clone() for name, value in model.named_parameters()}
    config = TrainConfig(images=3_200, batch_size=32, muon_lr=0.02, adamw_lr=3e-3, warmup=320, sample_every=10**9)
    mix = SceneMix(0, 0, 1, 0, 0, 0)
    drawings = drawings_of(things())
    planner = BatchPlanner(drawings, np.arange(6), reader.model.tokenizer, 24, mix, 32, caption_dropout=0.1)
    blind = layout_accuracy(reader, planner, 2)
    run = Run(tmp_path, reader, things(), config, BatchSource(planner.at), LAYOUT)
    list(training_loop(run))
    with run.evaluating() as trained:
        names_right, sides_right = layout_accuracy(trained, planner, 2)
        assert sides_right > 0.9 > blind[1]
        assert names_right > 0.97
        after = dict(trained.model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items()), "nothing else has changed"
    assert {name for name in after if name not in before} == {n for n in after if n.startswith("layout.")}


def test_settings_of_guidance():
    assert GuidanceSetting.read("3") == GuidanceSetting(3.0)
    assert GuidanceSetting.read("5 in 0.2 … 0.8") == GuidanceSetting(5.0, (0.2, 0.8))
    assert GuidanceSetting.read("2, weak 1.5") == GuidanceSetting(2.0, away=1.5)
    assert len({GuidanceSetting.read(text) for text in SETTINGS}) == len(SETTINGS)
    with pytest.raises(ValueError, match="'in much' is not a setting"):
        GuidanceSetting.read("3, in much")


def test_a_coarse_model_guides(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    weak = coarse(model)
    name, weight = next((n, w) for n, w in weak.network.named_parameters() if "blocks" in n and w.ndim == 2)
    assert not torch.equal(weight, dict(model.network.named_parameters())[name])
    assert all(len(row.unique()) <= 2 * COARSE + 1 for row in weight)
    xt, t, words = torch.randn(1, *model.shape), torch.tensor([0.5]), model.encode(["a red disc"])
    plain = guided_denoiser(model, weak, GuidanceSetting())(xt, t, words)
    assert torch.equal(plain, model.denoiser()(xt, t, words).clamp(-1, 1))
    away = guided_denoiser(model, weak, GuidanceSetting(away=3.0))(xt, t, words)
    want = plain + 2 * (plain - weak.denoiser()(xt, t, words))
    assert torch.allclose(away, want.clamp(-1, 1), atol=1e-5)


def test_the_classifier_of_styles_learns(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = np.zeros((40, 64, 64, 4), np.uint8)
    style = np.arange(40) % 2
    for picture, hollow in zip(pixels, style, strict=True):
        x, y = rng.integers(16, 48, 2)
        picture[y - 12 : y + 12, x - 12 : x + 12] = (*rng.integers(0, 256, 3), 255)
        if hollow:
            picture[y - 9 : y + 9, x - 9 : x + 9] = 0
    classifier = StyleClassifier(2)
    initialise(classifier, 0)
    config = TrainConfig(images=640, batch_size=16, muon_lr=0.01, adamw_lr=2e-3, warmup=64, sample_every=10**9)

    def batch(images_seen):
        rows = np.arange(images_seen, images_seen + 16) % 32
        return StyleBatch(to_model(torch.from_numpy(pixels[rows])), torch.from_numpy(style[rows]))

    run = Run(tmp_path, classifier, None, config, BatchSource(batch), STYLES)
    while run.images_seen < config.images:
        run.step()
    got = guesses(run.model, pixels[32:])
    assert (got == style[32:]).all()
    print_accuracy(["full", "hollow"], {"held out": (got, style[32:])})
    assert "| hollow | 100% of 4 |" in capsys.readouterr().out


def test_typos_are_corrected_as_by_the_command():
    assert spellchecked("RED APLE, noto", ["red", "apple", "noto"]) == "RED apple, noto"
    assert spellchecked("RED APLE, noto", []) == "RED APLE, noto"


def test_batches_are_drawn_as_the_model_draws_them(model):
    settings, count = DiffusionSettings(steps=2), BATCH + 3
    prompts, seeds = ["a red disc", "two red discs"] * count, range(7, 7 + count)
    pixels = draw_batches(model, prompts[:count], seeds, settings)
    assert pixels.shape == (count, 16, 16, 4)
    last = final(model.draw(prompts[BATCH:count], seeds[BATCH:], settings, exact=False))
    assert np.array_equal(pixels[BATCH:], last)
    other = draw_batches(model, prompts[:count], seeds, settings, lambda denoise: lambda *at: -denoise(*at))
    assert not np.array_equal(other, pixels)


def test_trajectories_are_the_teachers_steps_and_are_saved(model, tmp_path):
    captions = ["a red disc", "two red discs", "an orange disc"]
    states = all_trajectories(model, captions, tmp_path)
    assert states.shape == (3, STUDENT_STEPS + 1, *model.shape)
    steps = list(model.sample(model.encode(captions), range(10**6, 10**6 + 3), TEACHER, exact=False))
    want = torch.stack([*(step.xt for step in steps[:: TEACHER.steps // STUDENT_STEPS]), steps[-1].x0], dim=1)
    assert torch.equal(states, want.half())
    assert torch.equal(all_trajectories(None, captions, tmp_path), states)
