"""The report: the page says what the JSON says, whatever stands in captions is words, and nothing is half written."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unstir.evaluate.drawn import curve, ticks
from unstir.evaluate.frechet import frechet
from unstir.evaluate.numerals import decimals, numeral, rounded
from unstir.evaluate.report import row_of, write_report
from unstir.evaluate.shares import share

EVIL = "<script>alert('x')</script> & \"more\""
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 4), dtype=np.uint8))


def results(**changes):
    return {
        "title": f"Icons {EVIL}",
        "summary": "A sentence.",
        "settings": {"seed": 20261120, "guidance": 2.5, EVIL: EVIL, "levels": [0.1, {"a": 1}], "paired": True},
        "tables": [
            {
                "title": f"Likeness {EVIL}",
                "note": EVIL,
                "rows": [
                    {"name": EVIL, "value": 12.3456789, "interval": (11.9, 12.8), "floor": 3.21, "baseline": 18.4},
                    {"name": "tiny", "value": -1.23456789e-9, "chance": 0.0},
                    {"name": "missing", "value": None, "interval": None},
                    row_of("share", share(3, 7, chance=0.25), ceiling=np.float32(0.9)),
                ],
            },
            {"title": "Plain", "rows": [{"name": "parameters", "value": 12345678}]},
        ],
        "curves": [(f"loss {EVIL}", [0, 10, 20, 30], [0.5, None, 0.25, 0.2]), ("flat", [1], [2.0])],
        "figures": [(f"Drawn {EVIL}", PICTURE), ("Grey", Image.new("L", (600, 20)))],
        **changes,
    }


class Page(HTMLParser):
    """Checks that elements nest, and keeps numbers, pictures and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.numbers, self.pictures, self.words, self.tags = [], [], [], [], set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        given = dict(attributes)
        if tag == "data":
            self.numbers.append(given["value"])
        if tag == "img":
            self.pictures.append(given)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, results())
    return json.loads((folder / "report.json").read_text("utf-8")), (folder / "report.html").read_text("utf-8")


def numbers_of(value):
    match value:
        case bool() | str() | None:
            return []
        case int() | float():
            return [json.dumps(value)]
        case list():
            return [number for one in value for number in numbers_of(one)]
        case dict():
            return [number for one in value.values() for number in numbers_of(one)]


def test_the_page_says_the_numbers_of_the_json(written):
    said, html = written
    expected = [*numbers_of([said["settings"], said["tables"]]), "0.2", "2.0"]  # of curves, the last value
    assert sorted(Page(html).numbers) == sorted(expected)
    assert said["tables"][0]["rows"][3]["interval"] == [share(3, 7).low, share(3, 7).high]
    assert said["curves"][0] == {"name": f"loss {EVIL}", "xs": [0, 10, 20, 30], "ys": [0.5, None, 0.25, 0.2]}


def test_words_stay_words(written):
    _, html = written
    page = Page(html)
    assert "script" not in page.tags
    assert "<script" not in html
    assert "alert" in "".join(page.words)
    assert page.pictures[0]["alt"] == f"Drawn {EVIL}"
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'; img-src data:", html)
    assert not re.search(r"(src|href)=\"(?!data:)", html)


def test_figures_are_whole_and_small_ones_large_enough_to_see(written):
    said, html = written
    first, second = Page(html).pictures
    png = base64.b64decode(first["src"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(PICTURE))
    assert said["figures"][0]["sha256"] == hashlib.sha256(png).hexdigest()
    assert said["figures"][0]["size"] == [40, 24]
    assert (first["width"], first["height"], first["class"]) == ("360", "216", "small")
    assert (second["width"], "class" in second) == ("600", False)


def test_drawings_are_valid(written):
    _, html = written
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2 + 3 + 4  # curves, scales (of the row without a value and of one number: none), signs
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.replace("</", "")
    loss = next(drawing for drawing in drawings if "loss" in drawing)
    assert loss.count("<polyline") == 2  # broken where there is no value


def test_the_same_results_give_the_same_bytes(tmp_path, written):
    write_report(tmp_path, results())
    assert (tmp_path / "report.html").read_text("utf-8") == written[1]
    write_report(tmp_path, results(title="Another"))  # replaces
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["title"] == "Another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_report_of_nothing(tmp_path):
    write_report(tmp_path, {"title": "Nothing", "settings": {}, "tables": [], "curves": [], "figures": []})
    Page((tmp_path / "report.html").read_text("utf-8"))


def test_numpy_and_dataclasses_are_understood(tmp_path):
    result = frechet(np.eye(3), 2 * np.eye(3))
    write_report(tmp_path, results(settings={"n": np.int64(3), "x": np.arange(2), "y": np.float32(0.5), "fd": result}))
    settings = json.loads((tmp_path / "report.json").read_text("utf-8"))["settings"]
    assert (settings["n"], settings["x"], settings["y"]) == (3, [0, 1], 0.5)
    assert settings["fd"]["value"] == result.value


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"settings": {"a": float("nan")}}, ValueError, "settings › a is nan"),
        ({"settings": {"a": np.float64("inf")}}, ValueError, "settings › a is inf"),
        ({"settings": {"a": object()}}, TypeError, "no word for"),
        ({"curves": [("x", [1, 2], [1.0])]}, ValueError, "2 xs and 1 ys"),
        ({"curves": [("x", [], [])]}, ValueError, "0 xs"),
        ({"curves": [("x", [2, 1], [1.0, 1.0])]}, ValueError, "do not rise"),
        ({"curves": [("x", [1, 2], [1.0, float("nan")])]}, ValueError, "curves › 0 › ys › 1 is nan"),
    ],
)
def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        write_report(tmp_path, results(**changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (12345678, None, "12\u2009345\u2009678"),
        (-3, None, "−3"),
        (0.0, None, "0"),
        (0.5, None, "0.5000"),
        (9.99996, None, "10.00"),
        (1234.5678, None, "1\u2009235"),
        (1.5e-7, None, "1.500 × 10<sup>−7</sup>"),
        (2.5e8, None, "2.500 × 10<sup>8</sup>"),
        (12.3456, 1, "12.3"),
        (-0.001, 2, "0.00"),
        (-0.001, 3, "−0.001"),
    ],
)
def test_rounding(value, places, text):
    assert rounded(value, places) == text


@given(value=st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_what_is_shown_is_near_what_is_meant(value):
    shown = rounded(value).replace("−", "-").replace("\u2009", "").replace(" × 10<sup>", "e").replace("</sup>", "")
    assert float(shown) == pytest.approx(value, rel=5.1e-4)
    assert float(re.search(r'value="(.*?)"', numeral(value))[1]) == value


def test_an_interval_says_how_many_decimals_count():
    assert decimals(12.3456, [11.9, 12.8]) == 2
    assert decimals(0.01234, [0.0101, 0.0146]) == 4
    assert decimals(1234.5, [1100.0, 1400.0]) == 0
    assert decimals(1.0, None) is decimals(1.0, [1.0, 1.0]) is decimals(None, [0.0, 1.0]) is None


@given(low=st.floats(-1e6, 1e6), reach=st.one_of(st.just(0.0), st.floats(1e-3, 1e6)))
def test_ticks_are_few_and_hold_the_range(low, reach):
    marks = ticks(low, low + reach)
    assert 3 <= len(marks) <= 8
    slack = 1e-6 * (marks[-1] - marks[0])
    assert marks[0] <= low + slack
    assert low + reach <= marks[-1] + slack


@given(ys=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=30))
def test_any_curve_can_be_drawn(ys):
    drawing = ElementTree.fromstring(curve("c", list(range(len(ys))), ys))
    for line in drawing.iter("polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 300
            assert 0 <= y <= 158
