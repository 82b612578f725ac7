"""Composition by the default model: counts, two things, relations and backgrounds, checked part by part.

Each scene is drawn by the model and, as the upper limit of the score, painted from real drawings. A picture of two
things is cut in the middle, and a CLIP chooses among sixteen names for each half. Things are counted by connected
components, backgrounds are read from the corners. Typos are corrected first, as by `unstir generate`.
Run: python -m experiments.icons_skills DATA [-n 60]   (DATA: the shards of unstir/recipes/icons.py)
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from experiments.drawing import draw_batches
from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.data.shapes_check import components
from unstir.data.sources import open_source
from unstir.evaluate.statistics.wilson import Proportion, wilson_interval
from unstir.models.clip import Clip
from unstir.models.diffusion import Diffusion
from unstir.models.pixels import to_model, to_pixels
from unstir.recipes.icons_data import annotated, split_cells
from unstir.scenes.batches import drawings_of
from unstir.scenes.compose import compose, scene_arrays
from unstir.scenes.phrases import NUMBERS, misspelt, plural, with_article
from unstir.scenes.planner import COLOURS, COUNT_BOXES, RELATIONS, SIDE_BY_SIDE, SceneMix, ScenePlanner
from unstir.scenes.scene import Drawing, Placed, Scene
from unstir.settings import DiffusionSettings
from unstir.text.vocabulary import correct_spelling
from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, load_clip, load_model

CHOICES = 16
STYLES = ("fluent 3d", "fluent flat", "noto", "twemoji", "emojitwo")
MIN_PIECE_AREA = 0.015
"""As a fraction of the picture; smaller connected components are not counted."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Task:
    """One prompt of a skill.

    skill: its name.
    scene: gives the caption, and the picture painted from real drawings.
    check: (picture) -> whether it is right.
    """

    skill: str
    scene: Scene
    check: Callable[[Pixels], bool]


class SkillTest:
    """Makes tasks from drawings, and checks pictures with a CLIP."""

    def __init__(self, drawings: Sequence[Drawing], clip: Clip, rng: np.random.Generator) -> None:
        self.drawings, self.clip, self.rng = drawings, clip, rng
        self.maker = ScenePlanner(drawings, SceneMix())
        self.things = [i for i, d in enumerate(drawings) if d.thing and d.phrase in STYLES and len(d.name) < 20]

    def task(self, skill: str) -> Task:
        """A task of this skill, one of SKILLS."""
        row = self.things[int(self.rng.integers(len(self.things)))]
        drawing = self.drawings[row]
        match skill.split():
            case ["single"]:
                scene = Scene(f"{drawing.name}, {drawing.phrase}", (Placed(row, 1.0, 0.0, 0.0),), None)
                return Task(skill, scene, lambda x: self.shows(x, row))
            case ["misspelt"]:
                words = f"{misspelt(drawing.name, self.rng).upper()}, {drawing.phrase}"
                return Task(skill, Scene(words, (Placed(row, 1.0, 0.0, 0.0),), None), lambda x: self.shows(x, row))
            case ["count", number]:
                n = int(number)
                placed = tuple(self.maker.put(row, box) for box in COUNT_BOXES[n][0])
                words = f"{NUMBERS[n]} {plural(drawing.name)}, {drawing.phrase}"
                return Task(skill, Scene(words, placed, None), lambda x: pieces(x) == n)
            case ["background"]:
                name = list(COLOURS)[int(self.rng.integers(len(COLOURS)))]
                words = f"{drawing.name} on a {name} background, {drawing.phrase}"
                scene = Scene(words, (Placed(row, 0.8, 0.1, 0.1),), COLOURS[name])
                return Task(skill, scene, lambda x: background_colour(x) == name)
        other = self._other(row)
        one, two = (with_article(self.drawings[i].name) for i in (row, other))
        if skill == "two":
            words = f"{one} and {two}, {drawing.phrase}"
            placed = (self.maker.put(row, SIDE_BY_SIDE[0]), self.maker.put(other, SIDE_BY_SIDE[1]))
            either = ((row, other), (other, row))
            return Task(skill, Scene(words, placed, None), lambda x: any(self.pair(x, "left", *p) for p in either))
        ways, boxes, first, stands = RELATIONS[skill]
        words = f"{one} {ways[0]} {two}, {drawing.phrase}"
        rows = (row, other) if first else (other, row)
        up = (1, -1) if stands else (0, 0)
        placed = tuple(self.maker.put(r, box, u) for r, box, u in zip(rows, boxes, up, strict=True))
        axis = "left" if skill in ("left", "right") else "above"
        return Task(skill, Scene(words, placed, None), lambda x: self.pair(x, axis, *rows))

    def _other(self, row: int) -> int:
        while True:
            other = self.things[int(self.rng.integers(len(self.things)))]
            a, b = self.drawings[row], self.drawings[other]
            if a.style == b.style and a.name != b.name:
                return other

    def pair(self, picture: Pixels, axis: str, first: int, second: int) -> bool:
        """Whether the first thing is in the left (or upper) half and the second in the other.

        axis: "left" or "above".
        first, second: rows of the drawings.
        """
        half = len(picture) // 2
        parts = (picture[:, :half], picture[:, half:]) if axis == "left" else (picture[:half], picture[half:])
        return self.shows(parts[0], first) and self.shows(parts[1], second)

    def shows(self, picture: Pixels, row: int) -> bool:
        """Whether the CLIP prefers the name of this drawing to fifteen others of its style."""
        drawing = self.drawings[row]
        style = [i for i in self.things if self.drawings[i].style == drawing.style]
        step = max(1, len(style) // CHOICES)
        others = [self.drawings[i].name for i in style[::step] if self.drawings[i].name != drawing.name]
        names = [drawing.name, *dict.fromkeys(others)][:CHOICES]
        content = cropped(picture)
        if content is None:
            return False
        with torch.no_grad():
            vector = self.clip.embed_pictures(sized(content, self.clip.shape[1]))
            words = self.clip.embed_ids(self.clip.tokenize([f"{name}, {drawing.phrase}" for name in names]))
        return int((vector @ words.T).argmax()) == 0


def cropped(picture: Pixels) -> Pixels | None:
    """The visible part as a square with a margin; None where nothing is visible."""
    rows, columns = (np.flatnonzero((picture[..., 3] > 64).any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(part.shape[:2])
    out = np.zeros((side, side, 4), np.uint8)
    y, x = (side - part.shape[0]) // 2, (side - part.shape[1]) // 2
    out[y : y + part.shape[0], x : x + part.shape[1]] = part
    return np.pad(out, ((side // 20 + 1,) * 2, (side // 20 + 1,) * 2, (0, 0)))


def sized(picture: Pixels, side: int) -> torch.Tensor:
    """A picture at another size, as input of a model: (1, 4, side, side)."""
    x = to_model(torch.from_numpy(picture[None].copy()))
    out: torch.Tensor = torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return out


def pieces(picture: Pixels) -> int:
    """The number of connected components."""
    labels = components(picture[..., 3] > 96)
    areas = np.bincount(labels.ravel())[1:]
    return int((areas > MIN_PIECE_AREA * picture.shape[0] ** 2).sum())


def background_colour(picture: Pixels) -> str:
    """The name of the colour in the corners; "" where they are transparent."""
    corners = np.concatenate([picture[y, x].reshape(-1, 4) for y in (slice(0, 4), slice(-4, None)) for x in (slice(0, 4), slice(-4, None))])  # fmt: skip # noqa: E501
    if np.median(corners[:, 3]) < 200:
        return ""
    colour = np.median(corners[:, :3], axis=0)
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))


def spellchecked(caption: str, known: Sequence[str]) -> str:
    """The caption with its typos corrected, as by the command.

    known: the words of the training captions; (): no correction.
    """
    return correct_spelling(caption, known)[0] if known else caption


SKILLS = ("single", "misspelt", "two", "count 2", "count 3", "count 4", *RELATIONS, "background")


def measure_skills(
    model: Diffusion,
    settings: DiffusionSettings,
    pictures: Pictures,
    clip: Clip,
    count: int,
    known: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, tuple[Proportion, Proportion]]:
    """For each skill the fraction of right pictures, of the model's and of those painted from real drawings."""
    examiner = SkillTest(drawings_of(pictures), clip, np.random.default_rng(seed))
    tasks = [examiner.task(skill) for skill in SKILLS for _ in range(count)]
    captions = [spellchecked(task.scene.caption, known) for task in tasks]
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels))
    real = to_pixels(compose(pixels, scene_arrays([task.scene for task in tasks]))).numpy()
    made = draw_batches(model, captions, range(seed, seed + len(tasks)), settings)
    out = {}
    for skill in SKILLS:
        rows = [i for i, task in enumerate(tasks) if task.skill == skill]
        right = [sum(tasks[i].check(x[i]) for i in rows) for x in (made, real)]
        out[skill] = (wilson_interval(right[0], len(rows)), wilson_interval(right[1], len(rows)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Skills of the default icon model.")
    parser.add_argument("data")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--as-written", action="store_true", help="do not correct typos")
    parser.add_argument("--no-layout", action="store_true", help="without the layout predictor")
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, steps=arguments.steps)
    if arguments.no_layout:
        loaded.model.layout = None
    pictures, _ = pack(open_source(arguments.data), loaded.model.shape[-1], 4)
    rows, _ = split_cells(pictures.meta)
    pictures = pictures.take(rows)
    pictures.meta = [annotated(meta) for meta in pictures.meta]
    settings = replace(loaded.settings, steps=arguments.steps or loaded.settings.steps)
    known = () if arguments.as_written else loaded.notes.get("words", ())
    found = measure_skills(loaded.model, settings, pictures, load_clip(DEFAULT_CLIP), arguments.n, known)
    for skill, (made, real) in found.items():
        print(f"{skill:12} {made.value:6.1%}  ({made.low:.0%} – {made.high:.0%})   real drawings {real.value:6.1%}")


if __name__ == "__main__":
    main()
