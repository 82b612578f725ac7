"""Captions for CLIP are true by the exact checker, all of them and no others, and the score asks what it says."""

import zlib
from functools import partial

import numpy as np
import pytest
import torch

from unstir.data.entry import Entry
from unstir.data.shapes import SKILLS, caption, parse, random_scene, render
from unstir.data.shapes_check import DetectedThing, check_caption, detect_things
from unstir.models.clip import ClipConfig
from unstir.recipes import named_recipe, recipe_table
from unstir.recipes.clip_captions import checked_captions, relation_of, true_captions
from unstir.recipes.clip_shapes import CaptionVectors, Tally, attributes, directions, held_out_shapes, rivals
from unstir.train.new_run import _png


def pictures(skill, count, seed=0):
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        scene = random_scene(skill, rng)
        yield scene, render(scene, 32, rng)


@pytest.mark.parametrize("skill", SKILLS)
def test_every_full_caption_is_true_and_no_true_one_is_missing(skill):
    """Judged by the exact checker itself, on captions of the grammar of shapes."""
    rng = np.random.default_rng(5)
    for scene, pixels in pictures(skill, 12):
        told = true_captions(detect_things(pixels))
        assert caption(scene) in told
        assert len(set(told)) == len(told)
        grammatical = 0
        for words in told:
            try:
                parse(words)
            except ValueError:
                continue
            grammatical += 1
            assert check_caption(pixels, words).right, words
        assert grammatical >= 2
        others = [caption(random_scene(kind, rng)) for kind in SKILLS for _ in range(4)]
        others += [caption(rival) for _, rivalling in rivals(scene) for rival in rivalling]
        for words in others:
            assert check_caption(pixels, words).right == (words in told), words


def found(colour, form, size="small", x=0.5, y=0.5):
    return DetectedThing(colour, form, size, x, y)


def test_a_single_thing():
    assert true_captions([found("orange", "circle", "large")]) == (
        "a large orange circle",
        "a large circle",
        "an orange circle",
        "a circle",
    )


def test_several_of_a_kind_and_of_different_kinds():
    two = [found("red", "cross", x=0.2), found("red", "cross", x=0.8)]
    assert true_captions(two) == ("two small red crosses", "two red crosses", "two small crosses", "two crosses")
    unlike = [found("red", "cross", x=0.2), found("blue", "cross", "large", x=0.8)]
    told = true_captions(unlike)
    assert "two crosses" in told
    assert "a red cross and a blue cross" in told
    assert "a large blue cross right of a small cross" in told
    # One thing must not be meant by both halves.
    assert not {"a cross and a cross", "a red cross and a cross", "two red crosses", "two small crosses"} & set(told)


def test_attributes_may_be_left_out_of_either_thing():
    told = true_captions([found("red", "circle", x=0.2), found("blue", "square", "large", x=0.8)])
    assert {"a circle and a square", "a square right of a small circle", "a red circle left of a square"} <= set(told)
    assert len(told) == 4 * 16
    assert not {"a circle right of a square", "a blue circle and a red square", "a circle"} & set(told)


def test_relations_read_the_longer_way():
    one = found("red", "circle", x=0.3, y=0.3)
    assert relation_of(one, found("red", "circle", x=0.9, y=0.5)) == "left of"
    assert relation_of(one, found("red", "circle", x=0.4, y=0.9)) == "above"
    assert relation_of(found("red", "circle", x=0.4, y=0.9), one) == "below"


def test_the_captioner_begins_with_the_pictures_own_caption():
    scene, pixels = next(pictures("relation", 1))
    ways = checked_captions(Entry("k", caption(scene), {}, partial(_png, pixels)))
    assert ways[0] == caption(scene)
    assert sorted(set(ways)) == sorted(true_captions(detect_things(pixels)))


# The score


class Knowing:
    """A CLIP that compares by the scenes themselves: it is always right, or knows no relations."""

    def __init__(self, scenes, without=()):
        self.scenes, self.without = scenes, without

    def embed_words(self, texts):
        return torch.stack([self.vector(parse(text)) for text in texts])

    def vector(self, scene):
        told = [name for name in ("first", "count", "relation", "second") if name not in self.without]
        said = repr([getattr(scene, name) for name in told])
        generator = torch.Generator().manual_seed(zlib.crc32(said.encode()))
        return torch.nn.functional.normalize(torch.randn(256, generator=generator), dim=0)


@pytest.mark.parametrize(("without", "wrong"), [((), set()), (("relation",), {"relation"}), (("count",), {"count"})])
def test_attributes_ask_for_each_attribute(monkeypatch, without, wrong):
    held = held_out_shapes(False, count=40)
    model = Knowing([], without)
    monkeypatch.setattr(
        "unstir.recipes.clip_shapes.vectors_of",
        lambda model, pictures: torch.stack([model.vector(parse(ways[0])) for ways in pictures.captions]),
    )
    tallies = attributes(model, held)
    assert set(tallies) == {"colour", "form", "size", "count", "relation", "binding"}
    assert {name for name, tally in tallies.items() if tally.accuracy < 1} == wrong
    assert tallies["colour"].asked == 40
    assert tallies["relation"].asked == 10


def test_directions_look_for_single_things(monkeypatch):
    """Vectors made of one number for each colour and form go exactly where the words point."""
    from unstir.data.shapes import COLOURS, FORMS

    class Adding:
        def embed_words(self, texts):
            return torch.stack([self.vector(text) for text in texts])

        def vector(self, text):
            words = text.split()
            parts = [float(name in words) for name in (*COLOURS, *FORMS)]
            return torch.nn.functional.normalize(torch.tensor([*parts, float(len(words) > 4)]), dim=0)

    monkeypatch.setattr(
        "unstir.recipes.clip_shapes.vectors_of",
        lambda model, pictures: torch.stack([model.vector(ways[0]) for ways in pictures.captions]),
    )
    pools = [held_out_shapes(combinations, 800) for combinations in (False, True)]
    assert directions(Adding(), pools, count=1) == 1.0
    assert directions(Adding(), pools[1:], count=1) < 0.5  # where there is none, none is found


def test_words_are_embedded_once():
    asked = []

    class Counting:
        def embed_words(self, texts):
            asked.extend(texts)
            return torch.ones(len(texts), 2)

    words = CaptionVectors(Counting())
    assert words[["a", "b", "a"]].shape == (3, 2)
    words[["b", "c"]]
    assert asked == ["a", "b", "c"]
    assert Tally(3, 4).accuracy == 0.75


def test_recipes_by_name():
    assert isinstance(named_recipe("clip-shapes").model, ClipConfig)
    assert all(make.__name__ == name.replace("-", "_") for name, make in recipe_table().items())
    for make in recipe_table().values():
        make()
