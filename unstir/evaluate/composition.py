"""Does the picture hold what was asked for? Measured on drawn shapes, which `shapes_check` reads back exactly.

    single      one thing was asked for: one is there, in the colour and form said
    two         two things: two are there, in the forms said, of whatever colours
    counting    two to four of one thing: as many are there, all in the form said, of whatever colour
    colour      any scene: the colours there are those said, each as often
    relation    two things and how they stand: both are there in colour and form, and stand as said
    binding     two things that differ in colour and in form, in pictures with the right colours and the right forms:
                each colour is on its own form. Mixing them up at random gives 50 %
    right       any scene: all of the caption holds, sizes too
    right/…     the same for scenes of one skill: single, two, count, relation

A scene counts in every line that it fits. A line that no scene fits is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unstir.data.shapes_check import CaptionCheck, check_caption
from unstir.data.shapes_scene import Scene, caption, held_out
from unstir.evaluate.shares import Share, share

_LINES = ("single", "two", "counting", "colour", "relation", "binding", "right")
_SKILLS = ("right/single", "right/two", "right/count", "right/relation")
_CHANCE = {"binding": 0.5}


@dataclass(frozen=True)
class Composition:
    """Shares by the names above, for scenes of combinations as in training, and for those held out from it."""

    as_trained: dict[str, Share]
    held_out: dict[str, Share]


def composition(pictures: Sequence[npt.NDArray[np.uint8]], scenes: Sequence[Scene]) -> Composition:
    """Judge pictures (size, size, 3) uint8 against the scenes they were asked to show.

    Raises ValueError for other pictures, or if there are not as many of them as of scenes.
    """
    if len(pictures) != len(scenes):
        raise ValueError(f"{len(pictures)} pictures for {len(scenes)} scenes")
    marks: dict[bool, dict[str, list[bool]]] = {False: {}, True: {}}
    for picture, scene in zip(pictures, scenes, strict=True):
        for line, right in _marks(scene, check_caption(picture, caption(scene))):
            marks[held_out(scene)].setdefault(line, []).append(right)
    return Composition(as_trained=_shares(marks[False]), held_out=_shares(marks[True]))


def _marks(scene: Scene, seen: CaptionCheck) -> Iterator[tuple[str, bool]]:
    """Every line that the scene counts in, and whether it is right there."""
    # The check compares how often each form and colour is there: where the forms are right, so is their number.
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


def _could_mix_up(scene: Scene) -> bool:
    """Whether colours could be on the wrong forms with every colour and every form right."""
    if scene.second is None:
        return False
    return scene.first.colour != scene.second.colour and scene.first.form != scene.second.form


def _shares(marks: dict[str, list[bool]]) -> dict[str, Share]:
    lines = [line for line in (*_LINES, *_SKILLS) if line in marks]
    return {line: share(sum(marks[line]), len(marks[line]), _CHANCE.get(line)) for line in lines}
