"""PNG files: nothing of the pixels or the request is lost, and every error is one sentence."""

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unstir.errors import UserError
from unstir.image.png import load_pixels, parameters, read_request, save_png

REQUEST = {
    "prompt": "a red circle",
    "negative": "blue",
    "seed": 1,
    "steps": 24,
    "sampler": "ddim",
    "guidance_scale": 4.0,
    "size": 64,
    "model": "icons",
    "model_hash": "0123abcd",
    "version": "0.1.0",
}
PIXELS = np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("png")


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(), negative=st.none() | st.text(), seed=st.integers(0, 2**64), scale=st.floats(allow_nan=False))
def test_any_request_reads_back_equal(folder, prompt, negative, seed, scale):
    request = {"prompt": prompt, "negative": negative, "seed": seed, "guidance_scale": min(max(scale, -1e9), 1e9)}
    save_png(folder / "a.png", PIXELS, request)
    assert read_request(folder / "a.png") == request


@pytest.mark.parametrize(
    "prompt",
    ["nul \0 inside", "two\nlines\r\nthree", "赤い丸 🔴", "half a pair \ud83d", "", '"\\', "Steps: 3\nSeed: 4"],
)
def test_awkward_prompts_read_back_equal_and_leave_a_readable_parameters_text(folder, prompt):
    save_png(folder / "a.png", PIXELS, {"prompt": prompt, "steps": 2})
    assert read_request(folder / "a.png") == {"prompt": prompt, "steps": 2}
    with Image.open(folder / "a.png") as image:
        assert image.info["parameters"].endswith("Steps: 2")
        assert "\0" not in image.info["parameters"]


def test_the_request_is_compact_sorted_utf8_json(folder):
    save_png(folder / "a.png", PIXELS, {"prompt": "grün 赤", "a": [1, None]})
    assert '{"a":[1,null],"prompt":"grün 赤"}'.encode() in (folder / "a.png").read_bytes()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([3, 4]).flatmap(
        lambda channels: arrays.arrays(
            np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(channels)), elements=st.integers(0, 255)
        )
    )
)
def test_pixels_read_back_bit_for_bit(folder, pixels):
    save_png(folder / "a.png", pixels)
    assert np.array_equal(load_pixels(folder / "a.png"), pixels)


def test_the_colour_under_alpha_zero_survives(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    pixels[..., 3] = 0
    save_png(folder / "a.png", pixels[::-1, ::2], REQUEST)  # not contiguous either
    assert np.array_equal(load_pixels(folder / "a.png"), pixels[::-1, ::2])


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (0, 4, 3), (1, 4, 4, 3)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"pixels must be uint8 \(H, W, 3 or 4\)"):
        save_png(tmp_path / "a.png", np.zeros(shape, np.uint8))


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not float32"):
        save_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), (object(), TypeError)])
def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path, value, error):
    with pytest.raises(error):
        save_png(tmp_path / "a.png", PIXELS, {"seed": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["save", "replace"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, broken):
    def fail(image, target, **_):
        if broken == "save":
            Path(target).write_bytes(b"half")
        raise OSError("disk full")

    save_png(tmp_path / "a.png", PIXELS, REQUEST)
    before = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(*{"save": (Image.Image, "save"), "replace": (os, "replace")}[broken], fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(tmp_path / "a.png", 255 - PIXELS, REQUEST)
    assert (tmp_path / "a.png").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_missing_file_is_told(tmp_path):
    for read in (read_request, load_pixels):
        with pytest.raises(UserError, match=r"There is no file .*b\.png; check the path\."):
            read(tmp_path / "b.png")


def test_a_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_request(tmp_path)


def test_what_is_no_png_is_told(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(UserError, match="is not a PNG, or is damaged"):
        read_request(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not a picture, or is damaged"):
        load_pixels(tmp_path / "a.png")
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "b.png", format="JPEG")
    with pytest.raises(UserError, match="is not a PNG, or is damaged"):
        read_request(tmp_path / "b.png")


def test_a_png_without_a_request_is_told(tmp_path):
    save_png(tmp_path / "a.png", PIXELS)
    with pytest.raises(UserError, match="carries no unstir request"):
        read_request(tmp_path / "a.png")


def with_text(path, text, **options):
    info = PngInfo()
    info.add_itxt("unstir", text, **options)
    Image.fromarray(PIXELS).save(path, pnginfo=info)


@pytest.mark.parametrize("text", ["{", "", "[1]", '"text"', "[" * 100_000, '{"a":' + "9" * 5000 + "}"])
def test_a_broken_request_is_told(tmp_path, text):
    with_text(tmp_path / "a.png", text)
    with pytest.raises(UserError, match=r"The unstir request in .* is damaged"):
        read_request(tmp_path / "a.png")


def test_a_zip_bomb_in_the_text_is_told(tmp_path):
    with_text(tmp_path / "a.png", json.dumps({"prompt": "a" * (1 << 21)}), zip=True)
    with pytest.raises(UserError, match="damaged or far too large"):
        read_request(tmp_path / "a.png")


def test_a_request_too_large_to_be_read_again_is_not_written(tmp_path):
    with pytest.raises(UserError, match="too long to be kept"):
        save_png(tmp_path / "a.png", PIXELS, {"prompt": "ä" * (1 << 20)})
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_picture_is_told_but_still_gives_its_request(tmp_path):
    save_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), REQUEST)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert read_request(tmp_path / "a.png") == REQUEST
    with pytest.raises(UserError, match=r"a\.png cannot be read .*truncated"):
        load_pixels(tmp_path / "a.png")


def test_too_many_pixels_are_told(tmp_path, monkeypatch):
    save_png(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(UserError, match="too many pixels"):
        load_pixels(tmp_path / "a.png")


def test_text_behind_the_pixels_is_found(tmp_path):
    save_png(tmp_path / "a.png", PIXELS, REQUEST)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"iTXtunstir") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (tmp_path / "a.png").write_bytes(moved)
    assert read_request(tmp_path / "a.png") == REQUEST


@settings(max_examples=100, deadline=None)
@given(where=st.integers(8, 400), value=st.integers(0, 255))
def test_a_damaged_file_raises_nothing_but_user_errors(folder, where, value):
    save_png(folder / "a.png", PIXELS, REQUEST)
    content = bytearray((folder / "a.png").read_bytes())
    content[where % len(content)] = value
    (folder / "a.png").write_bytes(content)
    for read in (read_request, load_pixels):
        with suppress(UserError):  # there are bytes that do not matter
            read(folder / "a.png")


def test_parameters_in_the_words_of_other_tools():
    assert parameters(REQUEST) == (
        "a red circle\n"
        "Negative prompt: blue\n"
        "Steps: 24, Sampler: DDIM, CFG scale: 4, Seed: 1, Size: 64x64, "
        "Model hash: 0123abcd, Model: icons, Version: unstir 0.1.0"
    )


def test_parameters_leave_out_what_is_missing():
    assert parameters({}) == ""
    assert parameters({"prompt": "a", "negative": "", "seed": None}) == "a"
    assert parameters({"seed": 0, "guidance_scale": 2.5}) == "CFG scale: 2.5, Seed: 0"


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ({"size": [96, 64]}, "Size: 96x64"),
        ({"size": "32x32"}, "Size: 32x32"),
        ({"sampler": "blend"}, "Sampler: blend"),
        ({"model": 'a, "b": c'}, r'Model: "a, \"b\": c"'),
        ({"version": "unstir 0.2.0"}, "Version: unstir 0.2.0"),
    ],
)
def test_parameters_of_one_field(request_, line):
    assert parameters(request_) == line


def test_load_pixels_of_other_kinds_of_pictures(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(path)
    assert load_pixels(path).tolist() == [[[0] * 3, [1] * 3, [255] * 3]]
    Image.new("LA", (1, 1), (7, 9)).save(path)
    assert load_pixels(path).tolist() == [[[7, 7, 7, 9]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([1, 2, 3])
    palette.save(path)
    assert load_pixels(path).tolist() == [[[1, 2, 3]]]
    palette.save(path, transparency=0)
    assert load_pixels(path).tolist() == [[[1, 2, 3, 0]]]


def test_load_pixels_turns_a_photograph_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert load_pixels(tmp_path / "a.jpg").shape == (8, 4, 3)
