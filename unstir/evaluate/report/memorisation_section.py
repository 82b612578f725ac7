"""The section on memorisation: copies by pixels and in a CLIP's space, for seen and held-out prompts separately."""

from collections.abc import Mapping, Sequence

import numpy as np

from unstir.evaluate.metrics.memorisation import Memorisation, memorisation
from unstir.evaluate.report.document import Figure, Row, Section, Table, row_of
from unstir.evaluate.report.figures import nearest_figure
from unstir.evaluate.run.features import PIXEL_SIDE, pixel_features
from unstir.evaluate.run.inputs import Inputs
from unstir.evaluate.statistics.arrays import Embeddings, Indices
from unstir.evaluate.statistics.resampling import permutation
from unstir.evaluate.statistics.wilson import Proportion

_SEARCHED = 1000
"""Held-out pictures at most that measure the false-positive rate."""

_SHOWN = 3
"""Nearest training pictures in the figure."""

_CERTAIN = 0.01
"""Proportion of copies that does not count as a sign of copying."""


def memorisation_section(inputs: Inputs) -> Section:
    """Whether training pictures are copied; empty where the training set shows one and the same."""
    pictures, split = inputs.real.pictures, inputs.real.split
    seen = split.seen
    groups = inputs.groups_of(seen)
    if len(set(groups)) < 2 or len(seen) < _SHOWN:
        return Section()
    held_out = split.held_out[permutation(len(split.held_out), inputs.seed)[:_SEARCHED]]
    sets = {prompts.name: prompts.numbers for prompts in reversed(inputs.prompt_sets)}
    pixels = pixel_features(pictures.pixels)
    found = {"pixels": _search(pixel_features(inputs.pixels), pixels, held_out, seen, groups)}
    if inputs.embeddings is not None:
        found["CLIP"] = _search(inputs.embeddings.generated, inputs.embeddings.real, held_out, seen, groups)
    rows = [row for space, one in found.items() for row in memorisation_rows(space, one, sets)]
    note = (
        f"Each picture against {len(seen)} training pictures. It is flagged as a copy if it is less than a third as "
        "far from the nearest one as from the next that shows something else"
    )
    if len(held_out):
        note += f"; the floor is the proportion of {len(held_out)} real held-out pictures that are flagged by mistake"
    sentences = [memorisation_sentence(space, one, sets) for space, one in found.items()]
    table = Table(title="Memorisation", rows=rows, note=f"{note}.")
    return Section([table], [_nearest(inputs, seen, found["pixels"])], sentences)


def memorisation_rows(space: str, found: Memorisation, sets: Mapping[str, Indices]) -> list[Row]:
    """Rows for each prompt set. space: "pixels" or "CLIP".  sets: by name, the numbers of their pictures."""
    floor = None if found.false_positives is None else found.false_positives.value
    rows = [
        row_of(f"copies by {space}, {name} prompts", found.copied(numbers), floor=floor)
        for name, numbers in sets.items()
    ]
    for name, numbers in sets.items():
        closer = found.closer(numbers)
        if closer is not None:
            rows.append(row_of(f"closer to training than 99 % of held-out ones, by {space}, {name} prompts", closer))
    return rows


def memorisation_sentence(space: str, found: Memorisation, sets: Mapping[str, Indices]) -> str:
    """How many pictures of each prompt set are flagged, and what that shows."""
    floor = found.false_positives
    parts = []
    for name, numbers in sets.items():
        copied = found.copied(numbers)
        verdict = "" if floor is None else f", {_verdict(copied, floor)}"
        parts.append(f"{copied.successes} of {copied.total} for {name} prompts ({_percent(copied)}{verdict})")
    text = f"Flagged as copies by {space}: {', '.join(parts)}"
    return f"{text}." if floor is None else f"{text}; of real held-out pictures {_percent(floor)}."


def _search(
    generated: Embeddings, real: Embeddings, held_out: Indices, seen: Indices, groups: Sequence[str]
) -> Memorisation:
    unseen = real[held_out] if len(held_out) else None
    return memorisation(generated, unseen, real[seen], np.array(groups), _SHOWN)


def _verdict(copied: Proportion, floor: Proportion) -> str:
    if copied.low > max(floor.high, _CERTAIN):
        return "most are copies" if copied.value > 1 / 2 else "some are copies"
    return "some may be copies" if copied.low > max(floor.value, _CERTAIN) else "no sign of copying"


def _percent(proportion: Proportion) -> str:
    return f"{100 * proportion.value:.1f} %"


def _nearest(inputs: Inputs, seen: Indices, found: Memorisation) -> Figure:
    pixels = inputs.real.pictures.pixels
    near = [[np.asarray(pixels[seen[row]]) for row in rows] for rows in found.nearest]
    caption = (
        f"The pictures most likely to be copies, by pixels at {PIXEL_SIDE} px, above their nearest training pictures. "
        "Ratio: distance to the nearest, over distance to the next that shows something else."
    )
    return nearest_figure(inputs.pixels, near, found.ratios, caption)
