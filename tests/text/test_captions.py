import pytest

from unstir.recipes.icons_captions import icon_captions

META = {"name": "red apple", "phrase": "fluent 3d", "tags": ["red apple", "fruit", "food", "snack", "meal"]}


def test_the_plain_caption_comes_first_and_every_way_names_thing_and_style():
    ways = icon_captions("a red apple, fluent 3d", META)
    assert ways == (
        "a red apple, fluent 3d",
        "red apple, fluent 3d",
        "red apple fluent 3d",
        "fluent 3d red apple",
        "red apple in fluent 3d style",
        "fruit red apple, fluent 3d",
        "food red apple, fluent 3d",
        "fruit food snack, fluent 3d",
    )


def test_a_tag_that_repeats_the_name_is_no_synonym():
    for way in icon_captions("plain", META):
        assert "red apple red apple" not in way


@pytest.mark.parametrize(("tags", "count"), [([], 5), (["fruit"], 6), (["fruit", "food"], 8), (None, 5), ("fruit", 5)])
def test_fewer_synonyms_are_fewer_ways(tags, count):
    ways = icon_captions("plain", META | {"tags": tags})
    assert len(ways) == count
    assert len(set(ways)) == count


def test_tags_that_are_not_text_are_left_out():
    assert icon_captions("plain", META | {"tags": [3, None, "fruit"]})[-1] == "fruit red apple, fluent 3d"


@pytest.mark.parametrize(
    "meta", [{}, {"name": "x"}, {"phrase": "y"}, {"name": 3, "phrase": "y"}, {"name": "x", "phrase": None}]
)
def test_without_the_fields_the_plain_caption_alone(meta):
    assert icon_captions("a cat", meta) == ("a cat",)
