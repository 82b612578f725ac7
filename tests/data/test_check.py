import io
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
from PIL import Image

from unstir.data.check import Report, check
from unstir.data.entry import Entry, Problem, Source


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
    return check(Source("test", "folder", entries, [Problem("z", "It has no caption.")]))


def test_every_figure(report):
    assert (report.pictures, report.usable) == (7, 5)
    assert [problem.key for problem in report.problems] == ["z", "f", "g"]
    assert report.shorter_side == (9, 50, 70)
    assert report.longer_side == (50, 100, 200)
    assert report.transparent == 1
    assert report.duplicates == (("a", "b"),)  # the same pixels in another format
    assert report.same_captions == 2
    assert report.caption_words == (1, 3, 4)
    assert report.distinct_words == 7  # a red cat dog flat square tiny
    assert report.small == ("e",)
    assert report.one_colour == ("d",)
    assert report.oblong == ("a", "b", "e")  # c is transparent: it is padded, not cropped
    assert report.cropped == 3
    assert report.suggested_size() == 48


def test_lines_say_it(report):
    text = "\n".join(report.lines())
    for words in (
        "5 of 7 captioned pictures can be used",
        "Shorter side 9 to 70 pixels, median 50; the pictures allow training at 48 pixels.",
        "20 % of the pictures have transparency",
        "1 to 4 words, median 3; 7 distinct words",
        "2 pictures share their caption",
        "1 pictures are exact copies of another, as a = b",
        "1 pictures are smaller than 32 pixels, as e",
        "1 pictures are of one single colour, as d",
        "3 opaque pictures lose more than a fifth to the square crop, as a, b, e.",
        "z: It has no caption.",
        "f: The picture cannot be decoded",
        "g: The picture cannot be read",
    ):
        assert words in text
    assert all(line.endswith(".") or ": " in line for line in report.lines())


def test_report_is_frozen(report):
    with pytest.raises(FrozenInstanceError):
        report.usable = 3


@pytest.mark.parametrize(
    ("side", "suggested"), [(8, 32), (32, 32), (47, 32), (48, 48), (95, 64), (127, 96), (128, 128), (4000, 128)]
)
def test_suggested_size(side, suggested):
    spread = (side, side, side)
    assert (
        Report("n", "folder", 1, 1, (), spread, spread, 0, (), 0, spread, 1, (), (), ()).suggested_size() == suggested
    )


def test_nothing_usable_is_a_report_too():
    report = check(Source("test", "folder", [Entry("x", "x", {}, lambda: b"")] * 30, []))
    assert report.usable == 0
    assert report.suggested_size() == 32
    lines = report.lines()
    assert lines[0] == "test (folder): 0 of 30 captioned pictures can be used."
    assert lines[-1] == "... and 10 more problems; `unstir check` names them all."
    assert not any("side" in line or "median" in line or "%" in line for line in lines)


def test_how_many_problems_are_spelt_out():
    report = check(Source("test", "folder", [Entry(f"k{i}", "x", {}, lambda: b"") for i in range(30)], []))
    assert [line.partition(":")[0] for line in report.lines(None)[1:]] == [f"k{i}" for i in range(30)]
    assert report.lines(3)[-2:] == [report.lines(None)[3], "... and 27 more problems; `unstir check` names them all."]
    assert report.lines(30) == report.lines(None)


@pytest.mark.parametrize(("width", "height", "cropped"), [(50, 40, 0), (40, 50, 0), (51, 40, 1), (40, 51, 1)])
def test_a_fifth_exactly_is_not_more_than_a_fifth(width, height, cropped):
    report = check(Source("test", "folder", [Entry("k", "x", {}, partial(bytes, png(width, height)))], []))
    assert report.cropped == cropped
    assert any("square crop, as k." in line for line in report.lines()) == bool(cropped)


def test_progress_and_workers():
    # 600 entries: more than one chunk. The first is slow, so threads finish out of order.
    pictures = [png(400, 300), *[png(8, 8, seed) for seed in range(4)], b"nothing"]
    entries = [Entry(f"k{i:03}", f"word{i}", {}, partial(bytes, pictures[i % 6 if i else 0])) for i in range(600)]
    source = Source("test", "folder", entries, [])
    calls = []
    report = check(source, lambda done, total: calls.append((done, total)), workers=4)
    assert calls == [(done, 600) for done in range(1, 601)]
    assert report == check(source, workers=1)
    assert [problem.key for problem in report.problems] == [f"k{i:03}" for i in range(5, 600, 6)]
    with pytest.raises(ValueError, match="workers"):
        check(source, workers=0)


def test_invisible_colours_do_not_matter():
    pictures = []
    for hidden in (0, 200):
        pixels = np.full((40, 40, 4), hidden, np.uint8)
        pixels[..., 3] = 0
        pixels[5:9, 5:9] = 255
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        pictures.append(file.getvalue())
    entries = [Entry(f"k{i}", "x", {}, partial(bytes, data)) for i, data in enumerate(pictures)]
    assert check(Source("test", "folder", entries, [])).duplicates == (("k0", "k1"),)
