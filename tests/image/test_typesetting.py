"""Captions of any script: fonts of the system where there are some, else transliteration; order, spaces, breaks."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont, features

from unstir.image import fonts, typesetting
from unstir.image.sheet import sheet
from unstir.image.text_mask import TextMask
from unstir.image.typesetting import clean, shortened, text_width, typeset, wrapped

CYRILLIC, KANA, HAN, ARABIC, DEVANAGARI = "400-4ff", "3040-30ff", "4e00-9fff", "600-6ff", "900-97f"
SIZE = 12


def forget():
    for cached in (fonts.system_fonts, fonts.can_shape, typeset):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def fresh():
    """No font found in one test is known in the next."""
    forget()
    yield
    forget()


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def no_fonts(bin_folder):
    """A machine without fontconfig."""


@pytest.fixture
def installed(bin_folder, tmp_path):
    """A function (charset, …) -> font files: a machine whose fontconfig lists one font a charset, in this order.

    Each is the font inside Pillow, which fontconfig is made to say has other characters than it has.
    """

    def install(*charsets, more=""):
        paths = [tmp_path / f"font{i}.ttf" for i in range(len(charsets))]
        for path in paths:
            path.write_bytes(ImageFont.load_default(12).font_bytes)
        listing = "".join(f"{path}\t0\tFalse\tTrue\t{charset}\n" for path, charset in zip(paths, charsets, strict=True))
        write_program(bin_folder, f"sys.stdout.write({more + listing!r})")
        return [str(path) for path in paths]

    return install


def write_program(folder, code):
    """A fontconfig that runs `code`, and notes its arguments."""
    program = folder / "fc-match"
    notes = folder / "arguments"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(notes)!r}, 'a').write(sys.argv[-1] + '\\n')\n{code}\n"
    )
    program.chmod(0o755)


def runs(text):
    """(text, font file) of each run, from left to right."""
    return [(run.text, run.font.path) for run in typeset(clean(text), SIZE).runs]


def drawn(text):
    """What is drawn, from left to right, with one space between words."""
    line = typeset(clean(text), SIZE)
    end, parts = 0.0, []
    for run in line.runs:
        parts += [" "] if run.x > end + 1 else []
        parts.append(run.text)
        end = run.x + run.font.face(SIZE).getlength(run.text)
    return "".join(parts)


def test_without_fonts_captions_are_transliterated(no_fonts):
    assert drawn("schön × groß\n– café\t…") == "schon x gross - cafe …"
    assert drawn("красное яблоко") == "krasnoe yabloko"
    assert drawn("赤いりんご") == "Chiiringo"
    assert drawn("लाल सेब") == "lal seb"
    assert drawn("a 🍎") == "a :apple:"
    for text in ("تفاحة حمراء", "빨간 사과", "テーブル", "แอปเปิลสีแดง", "👩‍🚀❤️", "e\u0301 x\u0301\u0302"):
        assert "?" not in drawn(text)
        assert drawn(text).isascii()


def test_only_what_is_no_character_becomes_a_question_mark(no_fonts):
    assert drawn("赤\0\ud800\ue000") == "Chi???"
    assert drawn("a\u200db\u202ec\ufe0f") == "abc"


def test_a_word_is_drawn_with_the_first_font_that_has_it(installed):
    cyrillic, every = installed(CYRILLIC, f"{CYRILLIC} {KANA} {HAN} 20-7e")
    assert runs("яблоко") == [("яблоко", cyrillic)]
    assert runs("яблоко赤い") == [("яблоко赤い", every)]
    assert runs("red 赤い apple") == [("red", ""), ("赤い", every), ("apple", "")]
    assert runs("iPhone用ケース") == [("iPhone用ケース", every)]


def test_fonts_change_within_a_word_that_no_font_has_whole(installed):
    kana, han = installed(KANA, HAN)
    assert runs("赤いりんご3個") == [("赤", han), ("いりんご", kana), ("3", ""), ("個", han)]
    assert runs("赤🍎い") == [("赤", han), (":apple:", ""), ("い", kana)]
    line = typeset("赤い", SIZE)
    assert line.runs[1].x == line.runs[0].font.face(SIZE).getlength("赤")


def test_accents_stay_with_their_letter(installed):
    path = installed("61-7a 301 308")[0]
    assert runs("x\u0301q\u0308") == [("x\u0301q\u0308", path)]
    assert runs("x\u0301яq\u0308") == [("x\u0301", path), ("ya", ""), ("q\u0308", path)]


@pytest.mark.parametrize(
    ("text", "language"), [("赤い", "ja"), ("빨간", "ko"), ("红苹果", "zh-cn"), ("ㄅ紅", "zh-tw"), ("яблоко", "en")]
)
def test_fontconfig_is_asked_once_for_the_language(text, language, installed, bin_folder):
    installed(KANA)
    for _ in range(2):
        typeset(text, SIZE)
        typeset(text, SIZE + 1)
    assert (bin_folder / "arguments").read_text() == f"sans-serif:lang={language}\n"


def test_ascii_needs_no_system_font_and_is_the_same_everywhere(installed, bin_folder, monkeypatch):
    installed("20-7e")
    page = sheet([np.zeros((64, 64, 3), np.uint8)] * 2, captions=["a red apple — 3 × 4", "“b”…"], rows=["one"])
    assert not (bin_folder / "arguments").exists()
    monkeypatch.setenv("PATH", "/nowhere")
    forget()
    again = sheet([np.zeros((64, 64, 3), np.uint8)] * 2, captions=["a red apple — 3 × 4", "“b”…"], rows=["one"])
    assert np.array_equal(page, again)


@pytest.mark.parametrize(
    "code", ["sys.exit(1)", "print('no\\tfont')", "print('x.ttf\\tzero\\tFalse\\tTrue\\t400-4ff')", "raise OSError"]
)
def test_a_fontconfig_that_fails_is_none(code, bin_folder):
    write_program(bin_folder, code)
    assert runs("ряд") == [("ryad", "")]


def test_fonts_that_cannot_draw_a_caption_are_passed_over(installed, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_text("no font")
    lines = [f"{path}\t0\t{color}\t{outline}\t{CYRILLIC}\n" for path, color, outline in (
        (tmp_path / "missing.ttf", "False", "True"),
        (broken, "", ""),
        (tmp_path / "emoji.ttf", "True", "True"),
        (tmp_path / "bitmap.pcf", "False", "False"),
    )]  # fmt: skip
    (path,) = installed(CYRILLIC, more="".join(lines))
    assert runs("ряд") == [("ряд", path)]


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow cannot shape here")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ابج دهو", "دهو ابج"),
        ("ابج 12 34 دهو", "دهو 34 12 ابج"),
        ("ابج red apple دهو", "دهو red apple ابج"),
        ("ابج - red 12 apple - دهو", "دهو - red 12 apple - ابج"),
        ("red ابج دهو apple", "red دهو ابج apple"),
        ("red ابج 12 دهو, apple", "red دهو, 12 ابج apple"),
        ("12 - ابج", "ابج - 12"),
        ("12 - 34", "12 - 34"),
    ],
)
def test_right_to_left(text, expected, installed):
    """The order of the words; within a word Pillow sees to it."""
    installed(f"{ARABIC} 20-7e")
    assert drawn(text) == expected
    for run in typeset(text, SIZE).runs:
        assert (run.direction == "rtl") == any(letter >= "\u0600" for letter in run.text)


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow cannot shape here")
def test_fonts_that_change_within_a_word_from_the_right(installed):
    one, two = installed("600-62f", "630-6ff")
    assert runs("ابس") == [("س", two), ("اب", one)]


def test_without_shaping_such_scripts_are_transliterated(installed, monkeypatch):
    path = installed(f"{ARABIC} {DEVANAGARI} {CYRILLIC}")[0]
    monkeypatch.setattr(typesetting, "can_shape", lambda: False)
    assert runs("ابج دهو") == [("bj", ""), ("dhw", "")]
    assert runs("लाल ряд") == [("lal", ""), ("ряд", path)]


@pytest.mark.parametrize("size", [11, 12, 14, 16, 18])
def test_words_stand_apart(size, no_fonts):
    """The built-in font's own space is 2 px at 11, hardly more than what lies between two letters."""
    mask = TextMask(30, 100)
    mask.write(["o o"], 0, 5, size)
    ink = mask.over(np.zeros((30, 100, 4), np.uint8), (0, 0, 0))[..., 3].max(axis=0) > 40
    first, last = np.flatnonzero(ink)[[0, -1]]
    assert 3 * (~ink[first:last]).sum() >= size


def test_widths_add_up():
    line = typeset("a red apple", SIZE)
    word = sum(run.font.face(SIZE).getlength(run.text) for run in line.runs)
    assert line.width == word + 2 * round(0.3 * SIZE) == text_width(" a  red\napple", SIZE)
    assert typeset("", SIZE).runs == ()


@given(text=st.text(max_size=80), width=st.integers(20, 120), lines=st.integers(1, 3))
def test_wrapped_text_fits(text, width, lines):
    result = wrapped(text, width, lines, 11)
    assert len(result) <= lines
    assert all(text_width(line, 11) <= width for line in result)


@given(text=st.text(max_size=80))
def test_wrapping_loses_nothing_where_there_is_room(text):
    assert "".join("".join(wrapped(text, 60, 999, 11)).split()).replace("…", "") == (
        "".join(clean(text).split()).replace("…", "")
    ) or "…" in "".join(wrapped(text, 60, 999, 11))
    assert clean(clean(text)) == clean(text)


def test_text_that_fits_is_kept_whole():
    assert wrapped("a red  circle", 200, 2, 12) == ["a red circle"]
    assert wrapped("a red circle on blue", text_width("a red circle", 12), 2, 12) == ["a red circle", "on blue"]
    assert shortened("a red circle", text_width("a red…", 12), 12) == "a red…"
    assert shortened("", 20, 12) == ""


def test_chinese_and_japanese_break_between_characters(installed):
    installed(f"{KANA} {HAN} 3000-303f")
    text = "赤いりんごと、青い皿。"
    width = text_width("赤いりん", SIZE)
    lines = wrapped(text, width, 9, SIZE)
    assert lines[0] == "赤いりん"
    assert "".join(lines) == text
    assert not any(line.startswith(("、", "。")) for line in lines)
    assert wrapped("abc 赤い d", text_width("abc 赤", SIZE), 9, SIZE) == ["abc 赤", "い d"]


def test_an_ellipsis_does_not_part_a_letter_from_its_accents(installed):
    installed("61-7a 301 308")
    text = "x\u0301\u0308" * 20
    for width in range(20, 80):
        assert (len(shortened(text, width, SIZE)) - 1) % 3 == 0


def dejavu():
    """A real font file, from matplotlib or from the system; None where there is none."""
    spec = importlib.util.find_spec("matplotlib")
    inside = [Path(folder) / "mpl-data/fonts/ttf" for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in (*inside, Path("/usr/share/fonts/truetype/dejavu"), Path("/usr/share/fonts/TTF")):
        if (folder / "DejaVuSans.ttf").is_file():
            return folder / "DejaVuSans.ttf"
    return None


@pytest.mark.skipif(dejavu() is None, reason="DejaVu Sans is not on this machine")
def test_a_real_font_draws_its_letters(bin_folder):
    listing = f"{dejavu()}\t0\tFalse\tTrue\t20-7e 370-3ff 400-4ff 600-6ff\n"
    write_program(bin_folder, f"sys.stdout.write({listing!r})")
    pictures = [np.zeros((64, 96, 3), np.uint8)] * 4
    pages = []
    for captions in (["яблоко", "αβγ", "تفاحة", "red ряд"], ["яблоко", "αβγ", "تفاحة", "red ряд"], ["\ue000"] * 4):
        forget()
        pages.append(sheet(pictures, columns=4, captions=captions)[72:])
    assert np.array_equal(pages[0], pages[1])
    cells = [pages[0][:, 4 + 100 * i : 100 + 100 * i] for i in range(4)]
    unknown = pages[2][:, 4:100]
    assert all((cell != unknown).any() for cell in cells)
    ink = [int((cell < 128).any(axis=2).sum()) for cell in cells]
    assert min(ink) > 2 * int((unknown < 128).any(axis=2).sum())
    if features.check("raqm"):  # joined letters are narrower than the same apart
        face = fonts.system_fonts("en")[0].face(SIZE)
        assert typeset("تفاحة", SIZE).width < sum(face.getlength(letter) for letter in "تفاحة")
