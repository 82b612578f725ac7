"""Film strips and animations: every step is there, in order, for as long as asked."""

import os

import numpy as np
import pytest
from PIL import Image

from unstir.errors import UserError
from unstir.image.filmstrip import animate, film_strip, trace_frames


def plain(*colour, side=32):
    return np.full((side, side, len(colour)), colour, np.uint8)


def steps(count):
    return [(plain(200, i, 0), plain(0, i, 200)) for i in range(count)]


def columns_of(page, colour):
    """The left edges at which a colour starts."""
    columns = (page == colour).all(axis=2).any(axis=0)
    return np.flatnonzero(np.diff(columns.astype(int), prepend=0) == 1).tolist()


def test_xt_lies_above_x0_and_time_goes_right():
    page = film_strip(steps(5), labels=["a"] * 5)
    lefts = [columns_of(page, (200, i, 0)) for i in range(5)]
    assert lefts == [columns_of(page, (0, i, 200)) for i in range(5)]
    assert lefts == sorted(lefts)
    assert np.flatnonzero((page == (200, 0, 0)).all(axis=2).any(axis=1)).max() < (
        np.flatnonzero((page == (0, 0, 200)).all(axis=2).any(axis=1)).min()
    )
    assert sum((page == (200, i, 0)).all(axis=2).sum() for i in range(5)) == 5 * 32 * 32


@pytest.mark.parametrize(("count", "bands", "length"), [(1, 1, 1), (16, 1, 16), (17, 2, 9), (36, 3, 12)])
def test_many_steps_go_into_bands_of_equal_length(count, bands, length):
    page = film_strip(steps(count), scale=2)
    band = film_strip(steps(length), scale=2)
    assert page.shape[1] == band.shape[1]
    assert page.shape[0] // band.shape[0] == bands
    for i in range(count):
        assert columns_of(page, (200, i, 0)) == columns_of(band, (200, i % length, 0))


def test_the_time_of_each_step_stands_under_its_column():
    times = [1.0, 0.7512, 0.04]
    page = film_strip(steps(3), times=times)
    assert np.array_equal(page, film_strip(steps(3), labels=["t = 1", "t = 0.751", "t = 0.04"]))
    assert np.array_equal(film_strip(steps(3), labels=["a"] * 3, times=times), film_strip(steps(3), labels=["a"] * 3))


def test_transparency_shows_a_checkerboard():
    page = film_strip([(plain(1, 2, 3, 0), plain(1, 2, 3, 255))])
    left = columns_of(page, (1, 2, 3))[0]
    assert (page[:36, left:] == 232).all(axis=2).sum() == 32 * 32 // 2
    assert (page == (1, 2, 3)).all(axis=2).sum() == 32 * 32


def curve_of(page):
    """Height of the curve (px above the lowest row) at each column that has it."""
    blue = (np.abs(page.astype(int) - (31, 119, 180)) < 3).all(axis=2)
    return {x: page.shape[0] - np.flatnonzero(blue[:, x]).mean() for x in np.flatnonzero(blue.any(axis=0))}


def test_the_curve_has_its_points_under_their_columns():
    values = [0.0, 1.0, 0.25, 0.75]
    page = film_strip(steps(4), values=values, value_label="clip")
    heights = curve_of(page)
    centres = [columns_of(page, (200, i, 0))[0] + 16 for i in range(4)]
    found = np.array([heights[x] for x in centres])
    assert np.allclose((found - found[0]) / (found[1] - found[0]), values, atol=0.06)
    without = film_strip(steps(4), values=values)
    assert without.shape[0] == page.shape[0]
    assert without.shape[1] <= page.shape[1]


def test_a_value_that_is_not_finite_leaves_a_hole():
    page = film_strip(steps(4), values=[0.0, float("nan"), float("inf"), 1.0])
    heights = curve_of(page)
    lefts = [columns_of(page, (200, i, 0))[0] for i in range(4)]
    assert not any(lefts[1] <= x < lefts[2] + 32 for x in heights)
    assert lefts[0] + 16 in heights


@pytest.mark.parametrize("values", [[3.0, 3.0], [float("nan")] * 2])
def test_equal_or_no_values_are_drawn_too(values):
    assert film_strip(steps(2), values=values).shape[2] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": []}, "at least one step"),
        ({"labels": ["a"]}, "1 labels for 3 steps"),
        ({"values": [1.0]}, "1 values for 3 steps"),
        ({"times": [1.0]}, "1 times for 3 steps"),
        ({"scale": 0}, "scale must be >= 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        film_strip(**{"frames": steps(3), **arguments})


def test_trace_frames_put_both_side_by_side():
    (frame,) = trace_frames([(plain(1, 2, 3, 4), plain(5, 6, 7, 8))])
    assert frame.shape == (32, 66, 4)
    assert (frame[:, :32] == (1, 2, 3, 4)).all()
    assert (frame[:, 32:34] == 0).all()
    assert (frame[:, 34:] == (5, 6, 7, 8)).all()
    assert (trace_frames(steps(1))[0][:, 32:34] == 255).all()
    with pytest.raises(ValueError, match="differ in shape"):
        trace_frames([(plain(1, 2, 3), plain(1, 2, 3, 4))])


def played(path):
    """All frames of an animation as RGBA, and their durations in ms."""
    frames, durations = [], []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.array(image.convert("RGBA")))
            durations.append(image.info["duration"])
        assert image.info.get("loop") == 0
    return frames, durations


NOISE = list(np.random.default_rng(0).integers(0, 256, (6, 12, 9, 4), np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
def test_apng_and_webp_keep_every_pixel(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    animate(path, NOISE, seconds_per_frame=0.125, hold=2, scale=2)
    frames, durations = played(path)
    assert durations == [125] * 5 + [2000]
    for frame, noise in zip(frames, NOISE, strict=True):
        # A player may drop the colour of what cannot be seen.
        seen = noise[..., 3] > 0
        assert np.array_equal(frame[::2, ::2][seen], noise[seen])
        assert np.array_equal(frame[1::2, 1::2, 3], noise[..., 3])


def test_gif_lies_on_white_and_counts_in_hundredths(tmp_path):
    side = [plain(200, i * 20, 0, alpha) for i, alpha in enumerate((0, 255, 128))]
    animate(tmp_path / "a.gif", side, seconds_per_frame=0.124)
    frames, durations = played(tmp_path / "a.gif")
    assert durations == [120, 120, 1500]
    assert [frame[0, 0].tolist() for frame in frames] == [[255] * 4, [200, 20, 0, 255], [227, 147, 127, 255]]


def test_the_last_frame_is_never_shorter_than_the_others(tmp_path):
    animate(tmp_path / "a.png", NOISE, hold=0)
    assert played(tmp_path / "a.png")[1] == [120] * 6


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_one_frame_and_mixed_channels_are_fine(tmp_path, suffix):
    animate(tmp_path / f"a{suffix}", [plain(1, 2, 3)])
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (1, 2, 3)
    animate(tmp_path / f"b{suffix}", [plain(1, 2, 3), plain(4, 5, 6, 255)])
    assert len(played(tmp_path / f"b{suffix}")[0]) == 2


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_equal_frames_in_a_row_keep_the_length(tmp_path, suffix):
    animate(tmp_path / f"a{suffix}", [plain(1, 2, 3)] * 3 + [plain(4, 5, 6)] * 2, hold=1)
    assert sum(played(tmp_path / f"a{suffix}")[1]) == 4 * 120 + 1000


@pytest.mark.parametrize("name", ["a.mp4", "a", "a.jpg"])
def test_an_unknown_suffix_is_told(tmp_path, name):
    with pytest.raises(UserError, match=r"has no suffix of an animation; give a name that ends in \.png"):
        animate(tmp_path / name, NOISE)


@pytest.mark.parametrize(
    ("frames", "times", "message"),
    [
        ([], {}, "at least one frame"),
        ([plain(1, 2, 3), plain(1, 2, 3, side=8)], {}, "all of one size"),
        (NOISE, {"seconds_per_frame": 0}, "within 60 s"),
        (NOISE, {"hold": 61}, "within 60 s"),
        (NOISE, {"scale": 0}, "scale must be >= 1"),
    ],
)
def test_what_cannot_be_animated_is_refused(tmp_path, frames, times, message):
    with pytest.raises(ValueError, match=message):
        animate(tmp_path / "a.png", frames, **times)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    (tmp_path / "a.gif").write_text("old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        animate(tmp_path / "a.gif", NOISE)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.gif", "old")]
