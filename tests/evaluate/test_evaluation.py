"""An evaluation from end to end: the same numbers twice and after a stop, copies caught, and what is not known said."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unstir.data.shapes import shape_pictures
from unstir.errors import UserError
from unstir.evaluate.evaluation import evaluate_model
from unstir.evaluate.metrics import likelihood
from unstir.evaluate.metrics.likelihood import bits_per_dim_of
from unstir.evaluate.report.document import write_report
from unstir.evaluate.report.text import report_lines
from unstir.evaluate.run import generation
from unstir.evaluate.run.cache import ArrayCache
from unstir.evaluate.run.features import ClipFeatures
from unstir.evaluate.run.generation import batch_drawer, check_captions
from unstir.evaluate.run.held_out import HeldOutSplit
from unstir.evaluate.run.inputs import EvaluatedModel
from unstir.evaluate.run.quick import quick_evaluation


def read(report, folder):
    write_report(folder, report)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def table(said, start):
    [found] = [one for one in said["tables"] if one["title"].startswith(start)]
    return {row["name"]: row for row in found["rows"]}


@pytest.fixture
def clip_features(clip):
    return ClipFeatures(clip, "tiny")


def test_from_end_to_end(subject, real, clip_features, model, tmp_path, monkeypatch):
    monkeypatch.setattr(likelihood, "COUNT", 3)

    def check(prompts):
        check_captions(model, prompts)

    subject = replace(subject, bits_per_dim=bits_per_dim_of(model), check=check)
    said = read(evaluate_model(subject, real, 60, 3, clip_features, settings={"steps": 2}), tmp_path)
    assert said["title"] == "tiny on shapes"
    assert said["settings"] == {
        "pictures": {"seen": 100, "held out": 100, "not usable": 0},
        "prompts": {"seen": 30, "held-out": 30},
        "steps": 2,
        "seed": 3,
    }
    assert [one["title"] for one in said["tables"]] == [
        "Composition, held-out combinations",
        "Composition, seen combinations",
        "Prompt alignment, held-out prompts",
        "Comparison with the nearest-text baseline",
        "Prompt alignment, seen prompts",
        "Distribution metrics, held-out prompts",
        "Distribution metrics, seen prompts",
        "Memorisation",
        "Likelihood, bits per dimension",
    ]
    alignment = table(said, "Prompt alignment, held-out")
    assert alignment["caption R@1"]["baseline"] is not None
    assert alignment["caption R@1"]["ceiling"] is not None
    assert table(said, "Prompt alignment, seen")["caption R@1"]["baseline"] is None
    distances = table(said, "Distribution metrics, held-out")
    # Noise is far from shapes, whatever a CLIP of random weights sees.
    assert distances["Fréchet distance"]["value"] > 3 * distances["Fréchet distance"]["ceiling"]
    assert distances["Fréchet distance"]["interval"][0] > distances["Fréchet distance"]["ceiling"]
    assert all(row["ceiling"] is not None and row["floor"] is not None for row in distances.values())
    assert table(said, "Memorisation")["copies by pixels, held-out prompts"]["value"] == 0
    assert table(said, "Likelihood")["held-out pictures"]["value"] > 0
    assert "the nearest-text baseline" in said["summary"]
    assert "real ones of the same prompts; the generated pictures are farther (difference" in said["summary"]
    assert len(said["figures"]) == 4
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_twice_and_stopped_and_continued(subject, real, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(generation.draw_pictures, "__defaults__", (None, None, generation.no_progress, 8))
    first = read(evaluate_model(subject, real, 40, 0, ClipFeatures(clip, "tiny")), tmp_path / "a")

    calls = []

    def stops(prompts, seeds):
        calls.append(seeds)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return subject.draw(prompts, seeds)

    folder = tmp_path / "kept"
    kept = ClipFeatures(clip, "tiny", ArrayCache(folder / "vectors"))
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(replace(subject, draw=stops), real, 40, 0, kept, folder=folder)
    assert len(list((folder / "pictures").rglob("*.png"))) == 16
    assert read(evaluate_model(replace(subject, draw=stops), real, 40, 0, kept, folder=folder), tmp_path / "b") == first
    assert len(calls) == 3 + 3
    assert read(evaluate_model(replace(subject, draw=None), real, 40, 0, kept, folder=folder), tmp_path / "c") == first
    # Other settings never write over what was drawn with these.
    evaluate_model(replace(subject, request={"model_hash": "1"}), real, 8, 0, kept, folder=folder)
    assert len(list((folder / "pictures").iterdir())) == 2
    assert len(list((folder / "pictures").rglob("*.png"))) == 40 + 8


def fake(name, pixels):
    """A "model" that hands out pictures by the seed."""
    return EvaluatedModel(name, lambda _prompts, seeds: pixels[np.array(seeds) % len(pixels)], {})


def test_a_model_that_only_copies_is_caught(real):
    copied = evaluate_model(fake("parrot", real.pictures.pixels[real.split.seen]), real, 60, features="raw")
    rows = table(copied, "Memorisation")
    for side in ("held-out", "seen"):
        assert rows[f"copies by pixels, {side} prompts"]["value"] > 0.9
        assert rows[f"copies by pixels, {side} prompts"]["floor"] < 0.05
        assert f"30 of 30 for {side} prompts (100.0 %, most are copies)" in copied["summary"]
        assert rows[f"closer to training than 99 % of held-out ones, by pixels, {side} prompts"]["value"] > 0.9


def test_a_model_that_copies_where_it_was_asked_for_the_same_is_caught(real):
    """For captions it has seen it gives the training picture, for all others something new."""
    captions = {ways[0]: i for i, ways in enumerate(real.pictures.captions) if i in real.split.seen}
    fresh = shape_pictures(60, 32, 9).pixels

    def draw(prompts, seeds):
        known = [real.pictures.pixels[captions[one]] if one in captions else None for one in prompts]
        return np.stack([fresh[seed] if one is None else one for one, seed in zip(known, seeds, strict=True)])

    summary = evaluate_model(EvaluatedModel("pupil", draw, {}), real, 60, features="raw")["summary"]
    assert "by pixels: 0 of 30 for held-out prompts (0.0 %, no sign of copying), 30 of 30 for seen" in summary
    assert "for seen prompts (100.0 %, most are copies); of real held-out pictures" in summary


def test_a_model_that_draws_anew_is_not(real):
    fresh = evaluate_model(fake("painter", shape_pictures(60, 32, 9, held_out=True).pixels), real, 60, features="raw")
    for side in ("held-out", "seen"):
        assert table(fresh, "Memorisation")[f"copies by pixels, {side} prompts"]["value"] < 0.05
    assert fresh["summary"].count("(0.0 %, no sign of copying)") == 2
    # And the distribution metrics show no difference from the real ones.
    distances = table(fresh, "Distribution metrics, seen")
    low, high = distances["Fréchet distance"]["interval"]
    assert low < distances["Fréchet distance"]["floor"] < high
    assert "real ones of the same prompts; no difference is shown (difference" in fresh["summary"]


def test_a_perfect_model_reaches_the_ceiling(real):
    """It gives the real pictures of the prompts, whose siblings must not stand in the reference."""
    metas = [{"concept": i // 3, "family": "one"} for i in range(200)]
    captions = [(f"picture {i}",) for i in range(200)]
    cells = replace(real, pictures=replace(real.pictures, meta=metas, captions=captions), built_in="")

    def draw(prompts, _seeds):
        return real.pictures.pixels[[int(prompt.split()[1]) for prompt in prompts]]

    model = EvaluatedModel("perfect", draw, {})
    report = evaluate_model(model, cells, 60, features="raw")
    for row in table(report, "Distribution metrics, held-out").values():
        assert row["value"] == row["ceiling"]
    assert "no difference is shown (difference 0," in report["summary"]


def named(pictures):
    """The pictures with metadata as the icons have them: a name and a style."""
    metas = [{**meta, "name": ways[0], "phrase": f"style {i % 3}"} for i, (ways, meta) in enumerate(pairs(pictures))]
    return replace(pictures, meta=metas)


def pairs(pictures):
    return zip(pictures.captions, pictures.meta, strict=True)


def test_the_metadata_tell_what_the_baseline_shows(subject, real, clip_features):
    report = evaluate_model(subject, replace(real, pictures=named(real.pictures)), 40, 0, clip_features)
    assert (
        "By their metadata, the baseline's pictures show the right concept in 0 % of the prompts" in report["summary"]
    )
    assert "both in 0 %; the CLIP counts both as right in " in report["summary"]
    assert "real pictures of these prompts for another style, most often style " in report["summary"]
    rows = table(report, "Comparison with the nearest-text baseline")
    assert rows["baseline, concept and style, by its metadata"]["value"] == 0
    assert rows["baseline, concept and style, by the CLIP"]["value"] > 0
    assert {"concept R@1", "style", "concept and style"} <= set(table(report, "Prompt alignment, held-out"))
    assert "concept and style, model less baseline" in table(report, "Comparison with the nearest-text baseline")


def test_without_a_clip(subject, real):
    report = evaluate_model(subject, real, 24, features="raw")
    titles = [one["title"] for one in report["tables"]]
    assert not any(title.startswith(("Prompt alignment", "Comparison")) for title in titles)
    assert "reduced pixels" in next(one["note"] for one in report["tables"] if one["title"].startswith("Distribution"))
    with pytest.raises(ValueError, match="give a CLIP"):
        evaluate_model(subject, real, 20)


def test_with_nothing_held_out(subject, real, clip_features):
    everything = replace(real, split=HeldOutSplit(np.arange(200), np.arange(0)), built_in="")
    report = evaluate_model(subject, everything, 30, 0, clip_features)
    assert [one["title"] for one in report["tables"]] == [
        "Prompt alignment, seen prompts",
        "Distribution metrics, seen prompts",
        "Memorisation",
    ]
    assert report["summary"].startswith("Nothing is known to be held out")
    assert "Flagged as copies by pixels: 0 of 30 for seen prompts (0.0 %)." in report["summary"]
    assert list(table(report, "Memorisation")) == ["copies by pixels, seen prompts", "copies by CLIP, seen prompts"]
    assert report["settings"]["prompts"] == {"seen": 30}


def test_a_clip_that_knows_nothing_is_not_trusted(subject, real, clip_features):
    summary = evaluate_model(subject, real, 40, 0, clip_features)["summary"]
    assert "This CLIP hardly knows such pictures" in summary


def test_a_handful_of_pictures(subject, real, clip_features):
    few = replace(
        real, pictures=real.pictures.take(range(6)), split=HeldOutSplit(np.arange(4), np.array([4, 5])), built_in=""
    )
    report = evaluate_model(subject, few, 1000, 0, clip_features)
    assert report["settings"]["prompts"] == {"seen": 2, "held-out": 1}
    assert not any(one["title"].startswith("Distribution") for one in report["tables"])


def test_captions_that_cannot_be_read_are_told_before_drawing(subject, real, clip_features):
    long = replace(real.pictures, captions=[("circle square " * 40,)] * len(real.pictures))
    with pytest.raises(UserError, match="too long for the CLIP"):
        evaluate_model(replace(subject, draw=None), replace(real, pictures=long), 20, 0, clip_features)


def test_lines(subject, real, clip_features):
    report = evaluate_model(subject, real, 60, 0, clip_features)
    lines = report_lines(report)
    assert lines[0] == "tiny on shapes"
    assert lines[-1] == report["summary"].splitlines()[-1]
    for name in ("caption R@1  ", "kernel distance  "):
        rows = [line.split() for line in lines if line.startswith(name)]
        assert len(rows) == 2
        assert all("to" in row for row in rows)
    assert all("<" not in line and line == line.rstrip() for line in lines)
    heads = [line for line in lines if "value  " in line]
    assert len(heads) == len(report["tables"])


def test_quick_evaluation(model, sampling, real, clip):
    rows = range(90, 110)
    model.train()
    try:
        found = quick_evaluation(model, real.pictures, clip, rows, sampling)
        assert model.training
    finally:
        model.eval()
    assert found == quick_evaluation(model, real.pictures, clip, rows, sampling)
    assert found != quick_evaluation(model, real.pictures, clip, rows, sampling, seed=1)
    assert found.kid > 0.01
    drawn = batch_drawer(model, sampling)([real.pictures.captions[row][0] for row in rows], range(20))
    features = ClipFeatures(clip)
    texts = features.of_texts([real.pictures.captions[row][0] for row in rows])
    assert found.clip_score == pytest.approx(100 * np.maximum((features.of_pictures(drawn) * texts).sum(1), 0).mean())
