import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
from PIL import Image

from unstir.data import decoding
from unstir.data.check import check_source
from unstir.data.decoding import available_cores, in_parallel
from unstir.data.entry import Entry, Problem, Source
from unstir.data.report import Flagged, problem_lines, suggested_size
from unstir.data.sample import sample_check, spread_rows


def png(width, height, seed=0, mode="RGB"):
    pixels = np.random.default_rng([seed]).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bmp(data):
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "BMP")
    return file.getvalue()


def gone():
    raise FileNotFoundError(2, "No such file or directory")


@pytest.fixture
def report():
    flat = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(flat, "PNG")
    pictures = [
        ("a", "A red cat.", png(100, 70)),
        ("b", "a red cat.", bmp(png(100, 70))),
        ("c", "dog", png(40, 90, 1, "RGBA")),
        ("d", "a flat red square", flat.getvalue()),
        ("e", "tiny dog", png(9, 200, 2)),
        ("f", "broken", b"nothing"),
    ]
    entries = [Entry(key, words, {}, partial(bytes, data)) for key, words, data in pictures]
    entries.append(Entry("g", "gone", {}, gone))
    return check_source(Source("test", "folder", entries, [Problem("z", "it has no caption")]))


def test_every_figure(report):
    assert (report.pictures, report.usable) == (7, 5)
    assert [problem.key for problem in report.problems] == ["z", "f", "g"]
    assert report.shorter_side == (9, 50, 70)
    assert report.longer_side == (50, 100, 200)
    assert report.transparent == 1
    assert report.duplicates == Flagged(1, ("a", "b"))  # the same pixels in another format
    assert report.same_captions == 2
    assert report.caption_words == (1, 3, 4)
    assert report.distinct_words == 7  # a red cat dog flat square tiny
    assert report.small == Flagged(1, ("e",))
    assert report.one_colour == Flagged(1, ("d",))
    assert report.oblong == Flagged(3, ("a", "b", "e"))  # c is transparent: it is padded, not cropped
    assert report.suggested_size() == 48


def test_lines_say_it(report):
    assert report.lines() == [
        "test (folder): 5 of 7 captioned pictures can be used.",
        "Shorter side 9 to 70 pixels, median 50; suggested training size 48.",
        "1 of 5 pictures are transparent.",
        "Captions have 1 to 4 words, median 3; 7 distinct words.",
        "Same caption as another picture: 2.",
        "Equal to another picture at 128 pixels: 1 (a, b).",
        "Smaller than 32 pixels: 1 (e).",
        "Of a single colour: 1 (d).",
        "Opaque, and the square crop leaves out more than a fifth: 3 (a, b, e).",
        "z: it has no caption",
        "f: the picture cannot be decoded (no known kind of picture)",
        "g: the picture cannot be read (No such file or directory)",
    ]


def test_report_is_frozen(report):
    with pytest.raises(FrozenInstanceError):
        report.usable = 3


@pytest.mark.parametrize(
    ("side", "suggested"), [(8, 32), (32, 32), (47, 32), (48, 48), (95, 64), (127, 96), (128, 128), (4000, 128)]
)
def test_suggested_size(side, suggested):
    assert suggested_size(side) == suggested


def entries_of(pictures):
    return [Entry(f"k{i:03}", f"word{i}", {}, partial(bytes, data)) for i, data in enumerate(pictures)]


def source_of(*pictures):
    return Source("test", "folder", entries_of(pictures), [])


def test_nothing_usable_is_a_report_too():
    report = check_source(source_of(*[b""] * 30))
    assert report.usable == 0
    assert report.suggested_size() == 32
    lines = report.lines()
    assert lines[0] == "test (folder): 0 of 30 captioned pictures can be used."
    assert lines[-1] == "… and 20 more problems; `unstir check` writes all of them to a file"
    assert len(lines) == 1 + 10 + 1
    assert not any("side" in line or "median" in line for line in lines)


def test_how_many_problems_are_shown():
    report = check_source(source_of(*[b""] * 30))
    assert [line.partition(":")[0] for line in report.lines(None)[1:]] == [f"k{i:03}" for i in range(30)]
    assert report.lines(3, "see there")[-2:] == [report.lines(None)[3], "… and 27 more problems; see there"]
    assert report.lines(30) == report.lines(None)
    assert problem_lines(report.problems[:11], rest="")[-1] == "… and 1 more problem"


@pytest.mark.parametrize(("width", "height", "oblong"), [(50, 40, 0), (40, 50, 0), (51, 40, 1), (40, 51, 1)])
def test_a_fifth_exactly_is_not_more_than_a_fifth(width, height, oblong):
    report = check_source(source_of(png(width, height)))
    assert report.oblong.count == oblong
    assert any("square crop" in line and "(k000)" in line for line in report.lines()) == bool(oblong)


def test_progress_and_workers():
    # 600 entries. The first is slow, so threads finish out of order.
    pictures = [png(400, 300), *[png(8, 8, seed) for seed in range(4)], b"nothing"]
    source = source_of(*(pictures[i % 6 if i else 0] for i in range(600)))
    calls = []
    report = check_source(source, lambda done, total: calls.append((done, total)), workers=4)
    assert calls == [(done, 600) for done in range(1, 601)]
    assert report == check_source(source, workers=1) == check_source(source)
    assert [problem.key for problem in report.problems] == [f"k{i:03}" for i in range(5, 600, 6)]
    assert report.duplicates == Flagged(500 - 5, ("k000", "k006", "k012"))
    with pytest.raises(ValueError, match="workers"):
        check_source(source, workers=0)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        check_source(source, size=0)


def test_few_pictures_are_in_memory_at_once():
    """However slow the reader of the results is, and however many pictures there are."""
    reading, finished = [], []

    def read(number):
        reading.append(number)
        return b""

    entries = [Entry(str(i), "x", {}, partial(read, i)) for i in range(500)]
    for entry, _ in in_parallel(entries, lambda entry: entry.read(), workers=2):
        finished.append(entry.key)
        assert len(reading) - len(finished) <= 2 * 8
    assert finished == [str(i) for i in range(500)]


def test_stopping_early_stops_the_threads():
    begun, before = [], threading.active_count()
    entries = entries_of([b""] * 500)
    results = in_parallel(entries, lambda entry: begun.append(entry.key), workers=2)
    next(results)
    results.close()
    assert len(begun) <= 17
    assert threading.active_count() == before


def test_all_cores_of_the_process_are_used(monkeypatch):
    seen = []
    monkeypatch.setattr(decoding, "ThreadPoolExecutor", lambda count: seen.append(count) or ThreadPoolExecutor(count))
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    check_source(source_of(b""))
    assert seen == [3]
    monkeypatch.delattr(decoding.os, "sched_getaffinity")
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_a_report_keeps_little_of_each_picture():
    """No pixels, keys or captions: a million pictures take less than 100 MB."""

    def peak(count):
        entries = [Entry(str(i), "a cat", {}, partial(bytes, TINY)) for i in range(count)]
        tracemalloc.start()
        try:
            check_source(Source("test", "folder", entries, []), workers=1, size=8)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(1200) - peak(200) < 100 * 1000


TINY = png(8, 8)


def test_invisible_colours_do_not_matter():
    pictures = []
    for hidden in (0, 200):
        pixels = np.full((40, 40, 4), hidden, np.uint8)
        pixels[..., 3] = 0
        pixels[5:9, 5:9] = 255
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        pictures.append(file.getvalue())
    assert check_source(source_of(*pictures)).duplicates == Flagged(1, ("k000", "k001"))


def test_large_jpegs_are_reported_at_their_true_size():
    file = io.BytesIO()
    Image.effect_noise((1200, 800), 60).save(file, "JPEG")
    report = check_source(source_of(file.getvalue()), size=64)
    assert (report.shorter_side[1], report.longer_side[1]) == (800, 1200)


# The quick sample


def test_sample():
    source = source_of(*(png(40 + i % 3, 90, i, "RGBA" if i % 4 == 0 else "RGB") for i in range(40)), b"")
    sample = sample_check(source, count=16)
    assert (sample.pictures, sample.sampled, sample.usable) == (41, 16, 16)
    assert sample.shorter_side == (40, 41, 42)
    assert sample.suggested_size == 32
    assert 0 < sample.transparent < 0.6
    assert sample.seconds_per_picture > 0
    assert sample.estimate_seconds == pytest.approx(41 * sample.seconds_per_picture)
    whole = sample_check(source, count=100)
    assert (whole.sampled, whole.usable, whole.transparent) == (41, 40, 0.25)
    assert whole.shorter_side == check_source(source).shorter_side


def test_a_sample_of_broken_pictures():
    sample = sample_check(source_of(*[b""] * 5))
    assert (sample.sampled, sample.usable, sample.shorter_side, sample.suggested_size) == (5, 0, (0, 0, 0), 32)
    for count, source in ((0, source_of(b"")), (1, source_of())):
        with pytest.raises(ValueError, match="at least one"):
            sample_check(source, count=count)


def test_a_sample_ends_in_time():
    sample = sample_check(source_of(*[png(9, 9)] * 300), count=300, seconds=0.0, workers=1)
    assert sample.sampled == 1


@pytest.mark.parametrize(("total", "count"), [(1, 5), (7, 7), (1000, 256), (1000, 100), (256, 256), (3, 2)])
def test_sampled_rows_are_spread_evenly(total, count):
    rows = spread_rows(total, count)
    assert len(rows) == len(set(rows)) == min(total, count)
    assert all(0 <= row < total for row in rows)
    for part in (8, 32):
        if count >= 4 * part:
            quarters = np.bincount(np.array(rows[:part]) * 4 // total, minlength=4)
            assert quarters.max() - quarters.min() <= 2
