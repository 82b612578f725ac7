"""What the sections of a report are made of: prompts, pictures drawn for them, and vectors of all there is."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unstir.evaluate.baseline import nearest_text
from unstir.evaluate.generation import Draw, Pixels, drawn
from unstir.evaluate.held_out import cell
from unstir.evaluate.likelihood import Bits
from unstir.evaluate.prompts import Choice, Prompt, choose, rows_of
from unstir.evaluate.real import Real
from unstir.evaluate.rows import Indices
from unstir.evaluate.shelf import Vectors
from unstir.evaluate.stages import Stages, silent
from unstir.evaluate.vectors import ClipVectors
from unstir.evaluate.words import Asked, Lexicon, asked


@dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated.

    request: what decides the looks of its pictures, beside prompt and seed.  check: raises UserError for prompts that
    it cannot read, before anything is drawn.  bits: of its likelihood, where that is wanted.
    """

    name: str
    draw: Draw
    request: Mapping[str, object]
    check: Callable[[Sequence[str]], None] | None = None
    bits: Bits | None = None


@dataclass(frozen=True, eq=False)
class Looks:
    """CLIP's vectors: of the pictures drawn, (N, D), and of all real ones, (R, D)."""

    drawn: Vectors
    real: Vectors


@dataclass(frozen=True, eq=False)
class Side:
    """The seen or the held-out prompts.

    places: of their pictures among those drawn, (n,).  rows: of the real pictures that lent the captions, (n,).
    others: real pictures of the side that lent none.  words: what is asked, for a CLIP.
    nearest: (n,) training rows whose captions are nearest to the prompts'; for held-out prompts with a CLIP only.
    """

    held_out: bool
    places: Indices
    rows: Indices
    others: Indices
    words: Asked | None = None
    nearest: Indices | None = None

    @property
    def name(self) -> str:
        return "held-out" if self.held_out else "seen"


@dataclass(frozen=True, eq=False)
class Material:
    """captions, pixels: N, of the prompts in their order.  groups: of all real pictures; those of one id go together.

    sides: seen first; one or two, none of them empty.
    """

    real: Real
    prompts: list[Prompt]
    captions: list[str]
    pixels: Pixels
    groups: list[str]
    sides: list[Side]
    looks: Looks | None
    seed: int

    def captions_of(self, side: Side) -> list[str]:
        return [self.captions[place] for place in side.places]

    def groups_of(self, rows: Indices) -> list[str]:
        return [self.groups[row] for row in rows]


def gather(
    subject: Subject,
    real: Real,
    count: int,
    seed: int,
    clip: ClipVectors | None = None,
    folder: Path | None = None,
    stages: Stages = silent,
) -> Material:
    """Choose prompts, draw them, and look at everything. What takes long is kept in `folder`, if one is given.

    count: of prompts, see `choose`.  seed: of the choice; picture i has seed + i.  clip: None where none is to judge.
    Raises UserError for captions that the model or the CLIP cannot read, and as `choose` does.
    """
    choice = choose(real.split, count, seed)
    prompts = choice.prompts
    captions = [real.pictures.captions[prompt.row][0] for prompt in prompts]
    if subject.check is not None:
        subject.check(captions)
    groups = [cell(meta) or key for meta, key in zip(real.pictures.meta, real.pictures.keys, strict=True)]
    lexicon = None if clip is None else read_all(real, clip, stages)
    sides = [
        _side(real, choice, held_out, groups, clip, lexicon)
        for held_out in (False, True)
        if any(prompt.held_out == held_out for prompt in prompts)
    ]
    where = None if folder is None else folder / "pictures" / _digest({**subject.request, "seed": seed})
    seeds = [seed + prompt.number for prompt in prompts]
    pixels = drawn(subject.draw, captions, seeds, subject.request, where, stages)
    looks = None
    if clip is not None:
        looks = Looks(clip.of_pictures(pixels, stages), clip.of_pictures(real.pictures.pixels, stages))
    return Material(real, prompts, captions, pixels, groups, sides, looks, seed)


def read_all(real: Real, clip: ClipVectors, stages: Stages = silent) -> Lexicon:
    """The plain captions of all pictures; those seen come first, in the order of their first pictures."""
    rows = np.concatenate([real.split.seen, real.split.held_out])
    texts = list(dict.fromkeys(real.pictures.captions[row][0] for row in rows))
    return Lexicon({text: i for i, text in enumerate(texts)}, clip.of_words(texts, stages))


def _side(
    real: Real, choice: Choice, held_out: bool, groups: list[str], clip: ClipVectors | None, lexicon: Lexicon | None
) -> Side:
    places = np.array([i for i, prompt in enumerate(choice.prompts) if prompt.held_out == held_out], dtype=np.int64)
    rows = rows_of(choice.prompts)[places]
    others = choice.held_out if held_out else choice.seen
    if clip is None or lexicon is None:
        return Side(held_out, places, rows, others)
    pictures = real.pictures
    styles = {meta.get("phrase") for meta in pictures.meta}
    words = asked(
        [pictures.captions[row][0] for row in rows],
        [pictures.meta[row] for row in rows],
        sorted(style for style in styles if isinstance(style, str)),
        [groups[row] for row in rows],
        lexicon,
        clip.of_words,
    )
    return Side(held_out, places, rows, others, words, _nearest(real, words, lexicon) if held_out else None)


def _nearest(real: Real, words: Asked, lexicon: Lexicon) -> Indices:
    """For each prompt the training row with the nearest caption, the first of those that have it."""
    first: dict[int, int] = {}
    for row in real.split.seen:
        first.setdefault(lexicon.place[real.pictures.captions[row][0]], int(row))
    known = lexicon.vectors[list(first)]
    found = nearest_text(words.own, known, np.array(list(first.values()), dtype=np.int64))
    return np.array(found.rows, dtype=np.int64)


def _digest(request: Mapping[str, object]) -> str:
    """A name for the pictures of one request, so that those of another are never written over."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:8]
