"""The report: the page says what the JSON says, whatever stands in captions is words, and nothing is half written."""

import base64
import hashlib
import io
import json
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unstir.errors import UserError
from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.report.curves import curve_svg
from unstir.evaluate.report.document import row_of, write_report
from unstir.evaluate.report.number_format import decimals_for, exact, rounded
from unstir.evaluate.statistics.wilson import wilson_interval

EVIL = "<script>alert('x')</script> & \"more\""
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 4), dtype=np.uint8))


def results(**changes):
    return {
        "title": f"Icons {EVIL}",
        "summary": "A sentence.",
        "settings": {"seed": 20261120, "guidance": 2.5, EVIL: EVIL, "levels": [0.1, {"a": 1}], "paired": True},
        "tables": [
            {
                "title": f"Distribution {EVIL}",
                "note": EVIL,
                "rows": [
                    {"name": EVIL, "value": 12.3456789, "interval": (11.9, 12.8), "floor": 3.21, "baseline": 18.4},
                    {"name": "tiny", "value": -1.23456789e-9, "chance": 0.0},
                    {"name": "missing", "value": None, "interval": None},
                    row_of("share", wilson_interval(3, 7, chance=0.25), ceiling=np.float32(0.9)),
                ],
            },
            {"title": "Plain", "rows": [{"name": "parameters", "value": 12345678}]},
        ],
        "curves": [(f"loss {EVIL}", [0, 10, 20, 30], [0.5, None, 0.25, 0.2]), ("flat", [1], [2.0])],
        "figures": [(f"Generated {EVIL}", PICTURE), ("Grey", Image.new("L", (600, 20)))],
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
    assert said["tables"][0]["rows"][3]["interval"] == [wilson_interval(3, 7).low, wilson_interval(3, 7).high]
    assert said["curves"][0] == {"name": f"loss {EVIL}", "xs": [0, 10, 20, 30], "ys": [0.5, None, 0.25, 0.2]}


def test_words_stay_words(written):
    _, html = written
    page = Page(html)
    assert "script" not in page.tags
    assert "<script" not in html
    assert "alert" in "".join(page.words)
    assert page.pictures[0]["alt"] == f"Generated {EVIL}"
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'; img-src data:", html)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)  # "#": a shape of the same drawing
    assert not re.search(r"url\((?!#)|@import", html)


def test_figures_are_whole_and_small_ones_large_enough_to_see(written):
    said, html = written
    first, second = Page(html).pictures
    png = base64.b64decode(first["src"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(PICTURE))
    assert said["figures"][0]["sha256"] == hashlib.sha256(png).hexdigest()
    assert said["figures"][0]["size"] == [40, 24]
    assert (first["width"], first["height"], first["class"]) == ("360", "216", "enlarged")
    assert (second["width"], "class" in second) == ("600", False)


def test_drawings_are_valid(written):
    _, html = written
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2 + 3 + 4  # curves, bars (of the row without a value and of one number: none), symbols
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.replace("</", "")


def test_the_same_results_give_the_same_bytes(tmp_path, written):
    write_report(tmp_path, results())
    assert (tmp_path / "report.html").read_text("utf-8") == written[1]
    write_report(tmp_path, results(title="Another", curves=[]))  # replaces
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["title"] == "Another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_report_of_nothing(tmp_path):
    write_report(tmp_path, {"title": "Nothing", "settings": {}, "tables": [], "curves": [], "figures": []})
    Page((tmp_path / "report.html").read_text("utf-8"))


def test_numpy_and_dataclasses_are_understood(tmp_path):
    result = frechet_distance(np.eye(3), 2 * np.eye(3))
    write_report(
        tmp_path, results(settings={"n": np.int64(3), "x": np.arange(2), "y": np.float32(0.5), "fd": result}, curves=[])
    )
    settings = json.loads((tmp_path / "report.json").read_text("utf-8"))["settings"]
    assert (settings["n"], settings["x"], settings["y"]) == (3, [0, 1], 0.5)
    assert settings["fd"]["value"] == result.value


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"settings": {"a": float("nan")}}, ValueError, "settings › a is nan"),
        ({"settings": {"a": np.float64("inf")}}, ValueError, "settings › a is inf"),
        ({"settings": {"a": object()}}, TypeError, "JSON cannot express"),
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
        (1.5e-7, None, "1.500 × 10⁻⁷"),
        (2.5e8, None, "2.500 × 10⁸"),
        (-2.5e8, None, "−2.500 × 10⁸"),
        (12.3456, 1, "12.3"),
        (-0.001, 2, "0.00"),
        (-0.001, 3, "−0.001"),
    ],
)
def test_rounding(value, places, text):
    assert rounded(value, places) == text


PLAIN = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789", "\u2009")


@given(value=st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_what_is_shown_is_near_what_is_meant(value):
    shown = rounded(value).translate(PLAIN).replace(" × 10", "e")
    assert float(shown) == pytest.approx(value, rel=5.1e-4)
    assert float(exact(value)) == value


def test_an_interval_says_how_many_decimals_count():
    assert decimals_for(12.3456, [11.9, 12.8]) == 2
    assert decimals_for(0.01234, [0.0101, 0.0146]) == 4
    assert decimals_for(1234.5, [1100.0, 1400.0]) == 0
    assert decimals_for(1.0, None) is decimals_for(1.0, [1.0, 1.0]) is decimals_for(None, [0.0, 1.0]) is None


# Curves


def test_a_curve_is_broken_where_there_is_no_value():
    drawing = curve_svg([0, 10, 20, 30, 40], [0.5, 0.4, None, 0.25, 0.2], 0)
    [line] = re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--accent\); stroke-width: 1.4', drawing)
    assert line.count("M") == 2
    assert re.findall(r"<text[^>]*>([^<]*)</text>", drawing)[:5] == ["0", "10", "20", "30", "40"]


def test_a_value_between_missing_ones_is_a_dot():
    assert curve_svg([0, 1, 2], [0.5, 0.4, 0.3], 0).count("<use") == 1  # the last one
    assert curve_svg([0, 1, 2, 3], [0.5, None, 0.4, 0.3], 0).count("<use") == 2


def test_large_numbers_are_short():
    drawing = curve_svg([0, 3_000_000], [0.5, 25_000], 0)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    assert "3\u2009M" in words
    assert "10\u2009k" in words


def test_curves_of_one_page_share_no_id_and_no_style():
    """A style sheet inside an SVG would hold for the whole page, and equal ids would mix up its shapes."""
    one, other = curve_svg([0, 1], [1.0, 2.0], 0), curve_svg([0, 1], [1.0, 2.0], 1)
    ids = [set(re.findall(r'id="([^"]*)"', drawing)) for drawing in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "<style" not in one
    assert curve_svg([0, 1], [1.0, 2.0], 0) == one


@settings(deadline=None, max_examples=8)
@given(ys=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=30))
def test_any_curve_can_be_drawn(ys):
    drawing = curve_svg(list(range(len(ys))), ys, 0)
    ElementTree.fromstring(drawing)
    assert "nan" not in drawing


def test_without_matplotlib_only_curves_are_refused(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_svg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=re.escape("pip install 'unstir[eval]'")):
        write_report(tmp_path, results())
    assert list(tmp_path.iterdir()) == []
    write_report(tmp_path, results(curves=[]))
    assert (tmp_path / "report.html").exists()
