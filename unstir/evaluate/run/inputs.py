"""The inputs of a report: prompts, pictures generated for them, and the features of all pictures and captions."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.evaluate.metrics.likelihood import BitsPerDim
from unstir.evaluate.metrics.nearest_text import nearest_text
from unstir.evaluate.metrics.prompt_alignment import CaptionIndex, PromptTargets, prompt_targets
from unstir.evaluate.run.features import ClipFeatures
from unstir.evaluate.run.generation import DrawBatch, draw_pictures
from unstir.evaluate.run.held_out import cell_of
from unstir.evaluate.run.progress import StartStage, no_progress
from unstir.evaluate.run.prompts import PromptChoice, choose_prompts, prompt_rows
from unstir.evaluate.run.real_pictures import RealPictures
from unstir.evaluate.statistics.arrays import Embeddings, Indices
from unstir.image.png import Pixels


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """What is evaluated.

    request: what decides what its pictures look like, besides prompt and seed.
    check: raises UserError for prompts that are too long for it, before anything is drawn.
    bits_per_dim: for its likelihood, where that is wanted.
    ode_bits, ode_count: the same by its probability flow, and for how many pictures of either side.
    reconstruct: one picture (1, H, W, C) -> the same encoded and decoded, where it has an autoencoder.
    """

    name: str
    draw: DrawBatch
    request: Mapping[str, object]
    check: Callable[[Sequence[str]], None] | None = None
    bits_per_dim: BitsPerDim | None = None
    reconstruct: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None
    ode_bits: BitsPerDim | None = None
    ode_count: int = 0


@dataclass(frozen=True, eq=False)
class PictureEmbeddings:
    """A CLIP's embeddings of the generated pictures, (N, D), and of all real ones, (R, D)."""

    generated: Embeddings
    real: Embeddings


@dataclass(frozen=True, eq=False)
class PromptSet:
    """The seen or the held-out prompts.

    numbers: of their pictures among the generated ones, (n,).
    rows: of the real pictures whose captions are the prompts, (n,).
    others: rows of the real pictures to compare with, of other groups, in random order.
    targets: what each picture is to be recognised as, where there is a CLIP.
    nearest: (n,) training rows whose captions are nearest to the prompts; for held-out prompts with a CLIP only.
    """

    held_out: bool
    numbers: Indices
    rows: Indices
    others: Indices
    targets: PromptTargets | None = None
    nearest: Indices | None = None

    @property
    def name(self) -> str:
        return "held-out" if self.held_out else "seen"


@dataclass(frozen=True, eq=False)
class Inputs:
    """captions, pixels: N, of the prompts in their order.  groups: of all real pictures, see `picture_groups`.

    prompt_sets: seen first; one or two, none of them empty.  embeddings: None without a CLIP.
    """

    real: RealPictures
    captions: list[str]
    pixels: Pixels
    groups: list[str]
    prompt_sets: list[PromptSet]
    embeddings: PictureEmbeddings | None
    seed: int

    def captions_of(self, prompts: PromptSet) -> list[str]:
        return [self.captions[number] for number in prompts.numbers]

    def groups_of(self, rows: Indices) -> list[str]:
        return [self.groups[row] for row in rows]


def gather_inputs(
    model: EvaluatedModel,
    real: RealPictures,
    count: int,
    seed: int,
    clip: ClipFeatures | None = None,
    folder: Path | None = None,
    stage: StartStage = no_progress,
) -> Inputs:
    """Choose prompts, draw them, and embed all pictures and captions.

    count: of prompts, see `choose_prompts`.  seed: of the choice; picture i is drawn with seed + i.
    clip: None to evaluate without one.  folder: caches the generated pictures.
    Raises UserError for captions that are too long for the model or the CLIP, and as `choose_prompts` does.
    """
    groups = picture_groups(real.pictures)
    choice = choose_prompts(real.split, count, seed, groups)
    prompts = choice.prompts
    captions = [real.pictures.captions[prompt.row][0] for prompt in prompts]
    if model.check is not None:
        model.check(captions)
    index = None if clip is None else caption_index(real, clip, stage)
    prompt_sets = [
        _prompt_set(real, choice, held_out, groups, clip, index)
        for held_out in (False, True)
        if any(prompt.held_out == held_out for prompt in prompts)
    ]
    where = None if folder is None else folder / "pictures" / _digest({**model.request, "seed": seed})
    seeds = [seed + prompt.number for prompt in prompts]
    pixels = draw_pictures(model.draw, captions, seeds, model.request, where, stage)
    embeddings = None
    if clip is not None:
        embeddings = PictureEmbeddings(clip.of_pictures(pixels, stage), clip.of_pictures(real.pictures.pixels, stage))
    return Inputs(real, captions, pixels, groups, prompt_sets, embeddings, seed)


def picture_groups(pictures: Pictures) -> list[str]:
    """An id for each picture, equal for pictures that are alike: its cell, or else its very pixels."""
    return [
        cell_of(meta) or hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()
        for meta, pixels in zip(pictures.meta, pictures.pixels, strict=True)
    ]


def caption_index(real: RealPictures, clip: ClipFeatures, stage: StartStage = no_progress) -> CaptionIndex:
    """The plain captions of all pictures; those seen come first, in the order of their first pictures."""
    rows = np.concatenate([real.split.seen, real.split.held_out])
    texts = list(dict.fromkeys(real.pictures.captions[row][0] for row in rows))
    return CaptionIndex({text: i for i, text in enumerate(texts)}, clip.of_texts(texts, stage))


def _prompt_set(
    real: RealPictures,
    choice: PromptChoice,
    held_out: bool,
    groups: list[str],
    clip: ClipFeatures | None,
    index: CaptionIndex | None,
) -> PromptSet:
    chosen = [i for i, prompt in enumerate(choice.prompts) if prompt.held_out == held_out]
    numbers = np.array(chosen, dtype=np.int64)
    rows = prompt_rows(choice.prompts)[numbers]
    others = choice.held_out if held_out else choice.seen
    if clip is None or index is None:
        return PromptSet(held_out, numbers, rows, others)
    pictures = real.pictures
    phrases = {meta.get("phrase") for meta in pictures.meta}
    targets = prompt_targets(
        [pictures.captions[row][0] for row in rows],
        [pictures.meta[row] for row in rows],
        sorted(phrase for phrase in phrases if isinstance(phrase, str)),
        [groups[row] for row in rows],
        index,
        clip.of_texts,
    )
    nearest = _nearest(real, targets, index) if held_out else None
    return PromptSet(held_out, numbers, rows, others, targets, nearest)


def _nearest(real: RealPictures, targets: PromptTargets, index: CaptionIndex) -> Indices:
    """For each prompt the training row with the nearest caption, the first of those that have it."""
    first: dict[int, int] = {}
    for row in real.split.seen:
        first.setdefault(index.rows[real.pictures.captions[row][0]], int(row))
    known = index.embeddings[list(first)]
    found = nearest_text(targets.embeddings, known, np.array(list(first.values()), dtype=np.int64))
    return np.array(found.rows, dtype=np.int64)


def _digest(request: Mapping[str, object]) -> str:
    """A name for the pictures of one request, so that those of another are never overwritten."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:8]
