"""Contact sheets: where things lie, what shows through, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstir.image.sheet import sheet


def plain(height, width, *colour):
    return np.full((height, width, len(colour)), colour, np.uint8)


RED = plain(10, 8, 200, 0, 0)


def test_pictures_lie_in_reading_order_with_the_gap_around_each():
    pictures = [plain(10, 8, i, 0, 0) for i in range(6)]
    page = sheet(pictures, columns=3, scale=2, gap=5)
    assert page.shape == (2 * 20 + 3 * 5, 3 * 16 + 4 * 5, 3)
    for i in range(6):
        y, x = 5 + i // 3 * 25, 5 + i % 3 * 21
        assert (page[y : y + 20, x : x + 16] == [i, 0, 0]).all()
        page[y : y + 20, x : x + 16] = 255
    assert (page == 255).all()


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (7, 3), (8, 4), (24, 6)]
)
def test_columns_are_found(count, columns):
    assert sheet([RED] * count, gap=0).shape[1] == 8 * columns


def test_row_labels_give_the_number_of_rows():
    without = sheet([RED] * 6, columns=2, gap=3)
    labelled = sheet([RED] * 6, rows=["one", "two", "three"], gap=3)
    assert labelled.shape[0] == without.shape[0]
    assert np.array_equal(labelled[:, -without.shape[1] + 3 :], without[:, 3:])
    assert (labelled[:, : -without.shape[1]] < 128).any()


def test_smaller_pictures_stand_in_the_middle_of_their_cell():
    page = sheet([plain(20, 20, 0, 0, 0), plain(10, 4, 9, 9, 9)], gap=0)
    assert (page[5:15, 28:32] == 9).all()
    assert (page[:, 20:] == 9).all(axis=2).sum() == 40


def test_pixels_are_repeated_and_not_blended():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    page = sheet([picture], scale=3, gap=0)
    assert np.array_equal(page[::3, ::3], picture)
    assert np.array_equal(page[2::3, 1::3], picture)


@given(value=st.integers(0, 255), alpha=st.integers(0, 255), ground=st.integers(0, 255))
def test_transparency_is_laid_over_the_background(value, alpha, ground):
    page = sheet([plain(1, 1, value, value, value, alpha)], gap=0, background=(ground, ground, ground))
    assert abs(int(page[0, 0, 0]) - (value * alpha + ground * (255 - alpha)) / 255) <= 0.5


def test_the_checkerboard_shows_only_through_transparency():
    clear, solid = plain(32, 32, 9, 9, 9, 0), plain(32, 32, 9, 9, 9, 255)
    page = sheet([clear, solid], columns=2, gap=2, background="checker")
    greys, counts = np.unique(page[2:34, 2:34], return_counts=True)
    assert greys.tolist() == [232, 255]
    assert counts[0] == counts[1]
    assert (page[2:34, 36:68] == 9).all()
    assert (page[:2] == 255).all()


def test_a_transparent_page_keeps_pictures_bit_for_bit():
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 4), np.uint8)
    page = sheet([picture, RED], columns=2, captions=["one", "two"], gap=3, background="transparent")
    assert page.shape[2] == 4
    left = 3 + (page.shape[1] - 9) // 4 - 6
    assert np.array_equal(page[3:15, left : left + 12], picture)
    assert page[0].max() == 0
    caption = page[16:]
    assert set(np.unique(caption[caption[..., 3] > 0][:, :3])) == {128}  # no dark fringes


@pytest.mark.parametrize(("background", "darker"), [("white", True), ((20, 20, 40), False), ((250, 240, 200), True)])
def test_captions_are_readable_on_the_page(background, darker):
    page = sheet([plain(64, 64, 90, 90, 90)], captions=["a circle"], background=background).astype(int)
    ground = int(page[0, 0].sum())
    below = page[69:].sum(axis=2)
    assert (ground - below.min() if darker else below.max() - ground) > 300


def test_an_empty_caption_takes_no_room_and_a_long_one_two_lines():
    none, empty, one, long = (
        sheet([plain(64, 64, 0, 0, 0)], captions=captions) for captions in (None, [""], ["a"], ["many words " * 40])
    )
    assert none.shape == empty.shape
    assert none.shape[0] < one.shape[0] < long.shape[0] <= none.shape[0] + 2.5 * (one.shape[0] - none.shape[0])


def test_text_stays_inside_its_cell():
    page = sheet([plain(64, 96, 0, 0, 0)] * 2, columns=2, captions=["W" * 300] * 2, gap=10)
    assert (page[:, :10] == 255).all()
    assert (page[:, 106:116] == 255).all()
    assert (page[:, 212:] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pictures": []}, "at least one picture"),
        ({"captions": ["a"]}, "1 captions for 2 pictures"),
        ({"columns": 1, "rows": ["a"]}, "1 row labels for 2 rows"),
        ({"columns": 0}, "columns and scale must be >= 1"),
        ({"scale": 0}, "columns and scale must be >= 1"),
        ({"gap": -1}, "gap >= 0"),
        ({"pictures": [np.zeros((4, 4, 3))]}, "pixels must be uint8"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sheet(**{"pictures": [RED, RED], **arguments})
