"""Composition metrics: whether a picture shows what its caption says, on the built-in shapes.

`data.shapes_check` reads such pictures back exactly. The metrics:

    single      scenes of one thing: one is there, in the colour and form said
    two         scenes of two things: two are there, in the forms said, of whatever colours
    counting    two to four of one thing: as many are there, all in the form said, of whatever colour
    colour      any scene: the colours there are those said, each as often
    relation    two things and a spatial relation: both are there in colour and form, and in this relation
    binding     two things that differ in colour and in form, in pictures with the right colours and the right forms:
                each colour is on its own form. Guessing gives 50 %
    right       any scene: all of the caption holds, sizes too
    right/…     the same for scenes of one skill: single, two, count, relation

A scene counts in every metric that it fits. A metric that no scene fits is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.data.shapes_check import CaptionCheck, check_caption
from unstir.data.shapes_scene import ShapeScene, caption, has_held_out
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval

_METRICS = ("single", "two", "counting", "colour", "relation", "binding", "right")
_SKILLS = ("right/single", "right/two", "right/count", "right/relation")
_CHANCE = {"binding": 0.5}


@dataclass(frozen=True)
class Composition:
    """Proportions by the names above, for scenes of combinations as in training, and for combinations held out."""

    as_trained: dict[str, Proportion]
    held_out: dict[str, Proportion]


def composition(pictures: Sequence[npt.NDArray[np.uint8]], scenes: Sequence[ShapeScene]) -> Composition:
    """Compare pictures (size, size, 3) uint8 with the scenes that their captions describe.

    Raises ValueError for other pictures, or if there are not as many pictures as scenes.
    """
    if len(pictures) != len(scenes):
        raise ValueError(f"{len(pictures)} pictures for {len(scenes)} scenes")
    outcomes: dict[bool, dict[str, list[bool]]] = {False: {}, True: {}}
    for picture, scene in zip(pictures, scenes, strict=True):
        for metric, right in _outcomes(scene, check_caption(picture, caption(scene))):
            outcomes[has_held_out(scene)].setdefault(metric, []).append(right)
    return Composition(as_trained=_proportions(outcomes[False]), held_out=_proportions(outcomes[True]))


def _outcomes(scene: ShapeScene, seen: CaptionCheck) -> Iterator[tuple[str, bool]]:
    """Every metric that the scene counts in, and whether it is right there."""
    # Caption checks compare how often each form and colour is there: where the forms are right, so is their number.
    if scene.skill == "single":
        yield "single", seen.things
    if scene.second is not None:
        yield "two", seen.form
    if scene.skill == "count":
        yield "counting", seen.form
    yield "colour", seen.colour
    if scene.skill == "relation":
        yield "relation", seen.relation
    if _could_mix_up(scene) and seen.colour and seen.form:
        yield "binding", seen.things
    yield "right", seen.right
    yield f"right/{scene.skill}", seen.right


def _could_mix_up(scene: ShapeScene) -> bool:
    """Whether colours could be on the wrong forms with every colour and every form right."""
    if scene.second is None:
        return False
    return scene.first.colour != scene.second.colour and scene.first.form != scene.second.form


def _proportions(outcomes: dict[str, list[bool]]) -> dict[str, Proportion]:
    return {
        name: wilson_interval(sum(outcomes[name]), len(outcomes[name]), _CHANCE.get(name))
        for name in (*_METRICS, *_SKILLS)
        if name in outcomes
    }
