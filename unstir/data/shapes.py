"""Drawn pictures with exact captions, which a small model learns in minutes and `shapes_check` scores exactly.

`shapes_scene` holds the words (grammar, colours, forms, what is held out), `shapes_draw` the drawing.
"""

import numpy as np

from unstir.data.pictures import Pictures
from unstir.data.shapes_draw import BACKGROUND, render
from unstir.data.shapes_scene import (
    COLOURS,
    FORMS,
    HELD_OUT_PAIRS,
    HELD_OUT_RELATIONS,
    NUMBERS,
    RELATIONS,
    SIZES,
    ShapeScene,
    Thing,
    caption,
    has_held_out,
    parse,
)
from unstir.diffusion.philox import keyed_generator

__all__ = [
    "BACKGROUND",
    "COLOURS",
    "FORMS",
    "HELD_OUT_PAIRS",
    "HELD_OUT_RELATIONS",
    "SKILLS",
    "ShapeScene",
    "Thing",
    "caption",
    "has_held_out",
    "parse",
    "random_scene",
    "render",
    "shape_pictures",
]

SKILLS = ("single", "two", "count", "relation")


def shape_pictures(count: int, size: int = 32, seed: int = 0, held_out: bool = False) -> Pictures:
    """`count` drawn scenes, the four skills in turn.

    size: side in pixels; below 32 forms are hard to tell apart.
    held_out: False draws only combinations for training, True only scenes with a held-out combination.
    Picture i depends on (seed, i, held_out) alone: a longer set begins with the shorter one.
    Returns pixels (count, size, size, 3) uint8; one caption each; meta {"skill": ..., "held_out": ...}.
    """
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    scenes = []
    for i in range(count):
        rng = keyed_generator(seed, 2 * i + held_out)
        scene = random_scene(SKILLS[i % len(SKILLS)], rng, held_out)
        pixels[i] = render(scene, size, rng)
        scenes.append(scene)
    part = "held-out" if held_out else "train"
    return Pictures(
        pixels,
        [(caption(scene),) for scene in scenes],
        [f"shapes/{part}/{seed}/{i:06d}" for i in range(count)],
        [{"skill": scene.skill, "held_out": held_out} for scene in scenes],
    )


def random_scene(skill: str, rng: np.random.Generator, is_held_out: bool = False) -> ShapeScene:
    """A scene of the given skill, in training or held out. Two things in it differ in colour or form."""
    if skill not in SKILLS:
        raise ValueError(f"the shapes have the skills {', '.join(SKILLS)}, not {skill}")
    while True:
        scene = _any_scene(skill, rng)
        if has_held_out(scene) == is_held_out:
            return scene


def _any_scene(skill: str, rng: np.random.Generator) -> ShapeScene:
    first, second = _any_thing(rng), _any_thing(rng)
    while (second.colour, second.form) == (first.colour, first.form):
        second = _any_thing(rng)
    match skill:
        case "single":
            return ShapeScene(first)
        case "count":
            return ShapeScene(first, int(rng.integers(2, max(NUMBERS) + 1)))
        case "two":
            return ShapeScene(first, 1, "and", second)
        case _:
            relation = str(rng.choice([name for name in RELATIONS if name != "and"]))
            return ShapeScene(first, 1, relation, second)


def _any_thing(rng: np.random.Generator) -> Thing:
    """Any colour and form; half of the things have a word for their size."""
    size = (None, None, *SIZES)[rng.integers(4)]
    return Thing(str(rng.choice(list(COLOURS))), str(rng.choice(FORMS)), size)
