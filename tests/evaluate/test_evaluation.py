"""An evaluation from end to end: the same numbers twice and after a stop, copies caught, and what is not known said."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unstir.data.shapes import shapes
from unstir.errors import UserError
from unstir.evaluate import generation, likelihood
from unstir.evaluate.evaluation import evaluate
from unstir.evaluate.generation import batch_drawer, check_prompts
from unstir.evaluate.held_out import Split
from unstir.evaluate.likelihood import bits_of
from unstir.evaluate.material import Subject
from unstir.evaluate.plain import lines
from unstir.evaluate.report import write_report
from unstir.evaluate.shelf import Shelf
from unstir.evaluate.small import small_evaluation
from unstir.evaluate.vectors import ClipVectors


def read(report, folder):
    write_report(folder, report)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def table(said, start):
    [found] = [one for one in said["tables"] if one["title"].startswith(start)]
    return {row["name"]: row for row in found["rows"]}


@pytest.fixture
def judge(clip):
    return ClipVectors(clip, "tiny")


def test_from_end_to_end(subject, real, judge, model, tmp_path, monkeypatch):
    monkeypatch.setattr(likelihood, "COUNT", 3)
    subject = replace(subject, bits=bits_of(model), check=lambda prompts: check_prompts(model, prompts))
    said = read(evaluate(subject, real, 60, 3, judge, settings={"steps": 2}), tmp_path)
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
        "Words, held-out prompts",
        "Against the nearest-text baseline",
        "Words, seen prompts",
        "Likeness, held-out prompts",
        "Likeness, seen prompts",
        "Memory",
        "Likelihood, bits per number",
    ]
    words = table(said, "Words, held-out")
    assert words["caption R@1"]["baseline"] is not None
    assert words["caption R@1"]["ceiling"] is not None
    assert table(said, "Words, seen")["caption R@1"]["baseline"] is None
    likeness = table(said, "Likeness, held-out")
    # Noise is far from shapes, whatever a CLIP of random weights sees.
    assert likeness["Fréchet distance"]["value"] > 3 * likeness["Fréchet distance"]["floor"]
    assert likeness["Fréchet distance"]["interval"][0] > likeness["Fréchet distance"]["floor"]
    assert table(said, "Memory")["copies, by pixels, held-out prompts"]["value"] == 0
    assert table(said, "Likelihood")["held-out pictures"]["value"] > 0
    assert "nearest-text baseline by " in said["summary"]
    assert "the Fréchet distance tells those drawn for held-out prompts from real ones" in said["summary"]
    assert len(said["figures"]) == 4
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_twice_and_stopped_and_continued(subject, real, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(generation.drawn, "__defaults__", (None, None, generation.silent, 8))
    first = read(evaluate(subject, real, 40, 0, ClipVectors(clip, "tiny")), tmp_path / "a")

    calls = []

    def stops(prompts, seeds):
        calls.append(seeds)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return subject.draw(prompts, seeds)

    folder = tmp_path / "kept"
    kept = ClipVectors(clip, "tiny", Shelf(folder / "vectors"))
    with pytest.raises(KeyboardInterrupt):
        evaluate(replace(subject, draw=stops), real, 40, 0, kept, folder=folder)
    assert len(list((folder / "pictures").rglob("*.png"))) == 16
    assert read(evaluate(replace(subject, draw=stops), real, 40, 0, kept, folder=folder), tmp_path / "b") == first
    assert len(calls) == 3 + 3
    assert read(evaluate(replace(subject, draw=None), real, 40, 0, kept, folder=folder), tmp_path / "c") == first
    # Other settings never write over what was drawn with these.
    evaluate(replace(subject, request={"model_hash": "1"}), real, 8, 0, kept, folder=folder)
    assert len(list((folder / "pictures").iterdir())) == 2
    assert len(list((folder / "pictures").rglob("*.png"))) == 40 + 8


def fake(name, pixels):
    """A "model" that hands out pictures by the seed."""
    return Subject(name, lambda _prompts, seeds: pixels[np.array(seeds) % len(pixels)], {})


def test_a_model_that_only_copies_is_caught(real):
    copied = evaluate(fake("parrot", real.pictures.pixels[real.split.seen]), real, 60, features="raw")
    rows = table(copied, "Memory")
    for side in ("held-out", "seen"):
        assert rows[f"copies, by pixels, {side} prompts"]["value"] > 0.9
        assert rows[f"copies, by pixels, {side} prompts"]["floor"] < 0.05
        assert f"30 of 30 pictures for {side} captions (it copies)" in copied["summary"]
    assert rows["nearer to training than 99 % of new ones, by pixels"]["value"] > 0.9


def test_a_model_that_copies_where_it_was_asked_for_the_same_is_caught(real):
    """For captions it has seen it gives the training picture, for all others something new."""
    captions = {ways[0]: i for i, ways in enumerate(real.pictures.captions) if i in real.split.seen}
    fresh = shapes(60, 32, 9).pixels

    def draw(prompts, seeds):
        known = [real.pictures.pixels[captions[one]] if one in captions else None for one in prompts]
        return np.stack([fresh[seed] if one is None else one for one, seed in zip(known, seeds, strict=True)])

    summary = evaluate(Subject("pupil", draw, {}), real, 60, features="raw")["summary"]
    assert "by pixels: 0 of 30 pictures for held-out captions (no sign of copying), " in summary
    assert "30 of 30 pictures for seen captions (it copies); of real held-out pictures" in summary


def test_a_model_that_draws_anew_is_not(real):
    fresh = evaluate(fake("painter", shapes(60, 32, 9).pixels), real, 60, features="raw")
    for side in ("held-out", "seen"):
        assert table(fresh, "Memory")[f"copies, by pixels, {side} prompts"]["value"] < 0.05
    assert fresh["summary"].count("(no sign of copying)") == 2
    # And by likeness it cannot be told from the real ones.
    likeness = table(fresh, "Likeness, seen")
    low, high = likeness["Fréchet distance"]["interval"]
    assert low < likeness["Fréchet distance"]["floor"] < high
    assert "does not tell those drawn for held-out prompts from real ones" in fresh["summary"]


def named(pictures):
    """The pictures with metadata as the icons have them: a name and a style."""
    metas = [{**meta, "name": ways[0], "phrase": f"style {i % 3}"} for i, (ways, meta) in enumerate(pairs(pictures))]
    return replace(pictures, meta=metas)


def pairs(pictures):
    return zip(pictures.captions, pictures.meta, strict=True)


def test_the_metadata_tell_what_the_baseline_shows(subject, real, judge):
    report = evaluate(subject, replace(real, pictures=named(real.pictures)), 40, 0, judge)
    assert "By their metadata the baseline's pictures show the right concept in 0 % of the prompts" in report["summary"]
    assert "both in 0 %." in report["summary"]
    assert {"concept R@1", "style", "concept and style"} <= set(table(report, "Words, held-out"))
    assert "concept and style, model less baseline" in table(report, "Against the nearest-text baseline")


def test_without_a_clip(subject, real):
    report = evaluate(subject, real, 24, features="raw")
    titles = [one["title"] for one in report["tables"]]
    assert not any(title.startswith(("Words", "Against")) for title in titles)
    assert "reduced pixels" in next(one["note"] for one in report["tables"] if one["title"].startswith("Likeness"))
    with pytest.raises(ValueError, match="give a CLIP"):
        evaluate(subject, real, 20)


def test_with_nothing_held_out(subject, real, judge):
    everything = replace(real, split=Split(np.arange(200), np.arange(0)), built_in="")
    report = evaluate(subject, everything, 30, 0, judge)
    assert [one["title"] for one in report["tables"]] == ["Words, seen prompts", "Likeness, seen prompts", "Memory"]
    assert report["summary"].startswith("Nothing is known to be held out")
    assert "Flagged as copies, by pixels: 0 of 30 pictures for seen captions." in report["summary"]
    assert list(table(report, "Memory")) == ["copies, by pixels, seen prompts", "copies, by CLIP, seen prompts"]
    assert report["settings"]["prompts"] == {"seen": 30}


def test_a_clip_that_knows_nothing_is_not_trusted(subject, real, judge):
    summary = evaluate(subject, real, 40, 0, judge)["summary"]
    assert "This CLIP hardly knows such pictures" in summary


def test_a_handful_of_pictures(subject, real, judge):
    few = replace(real, pictures=real.pictures.take(range(6)), split=Split(np.arange(4), np.array([4, 5])), built_in="")
    report = evaluate(subject, few, 1000, 0, judge)
    assert report["settings"]["prompts"] == {"seen": 2, "held-out": 1}
    assert not any(one["title"].startswith("Likeness") for one in report["tables"])


def test_captions_that_cannot_be_read_are_told_before_drawing(subject, real, judge):
    long = replace(real.pictures, captions=[("circle square " * 40,)] * len(real.pictures))
    with pytest.raises(UserError, match="too long for the CLIP"):
        evaluate(replace(subject, draw=None), replace(real, pictures=long), 20, 0, judge)


def test_lines(subject, real, judge):
    report = evaluate(subject, real, 60, 0, judge)
    told = lines(report)
    assert told[0] == "tiny on shapes"
    assert told[-1] == report["summary"].splitlines()[-1]
    for name in ("caption R@1  ", "kernel distance  "):
        rows = [line.split() for line in told if line.startswith(name)]
        assert len(rows) == 2
        assert all("to" in row for row in rows)
    assert all("<" not in line and line == line.rstrip() for line in told)
    heads = [line for line in told if "95 % interval" in line]
    assert len(heads) == len(report["tables"])


def test_small_evaluation(model, sampling, real, clip):
    rows = range(90, 110)
    model.train()
    try:
        found = small_evaluation(model, real.pictures, clip, rows, sampling)
        assert model.training
    finally:
        model.eval()
    assert found == small_evaluation(model, real.pictures, clip, rows, sampling)
    assert found != small_evaluation(model, real.pictures, clip, rows, sampling, seed=1)
    assert found.kernel > 0.01
    drawn = batch_drawer(model, sampling)([real.pictures.captions[row][0] for row in rows], range(20))
    judge = ClipVectors(clip)
    words = judge.of_words([real.pictures.captions[row][0] for row in rows])
    assert found.clip_score == pytest.approx(100 * np.maximum((judge.of_pictures(drawn) * words).sum(1), 0).mean())


def test_bits_of_transparent_pictures_are_finite(model):
    pictures = shapes(3, 32, 4)
    bound = bits_of(model)(pictures, [0, 1, 2])
    assert np.isfinite(bound.total)
    assert bound.total == bits_of(model)(pictures, [0, 1, 2]).total
