"""The figures of a report: generated beside real pictures, the best and the worst, the nearest training pictures."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from unstir.evaluate.report.document import Figure
from unstir.evaluate.statistics.arrays import Floats
from unstir.image.png import Pixels
from unstir.image.sheet import sheet

_COLUMNS = 9
_SIDE = 96  # px that small pictures are enlarged to, pixel by pixel


def generated_figure(generated: Pixels, captions: Sequence[str], caption: str, rows: int = 3) -> Figure:
    """The first pictures, not selected, each with its prompt. generated: (N, S, S, C), N >= 1."""
    count = min(len(generated), rows * _COLUMNS)
    return _figure(caption, list(generated[:count]), captions[:count])


def comparison_figure(
    rows: Sequence[tuple[str, Pixels]], captions: Sequence[str], caption: str, blocks: int = 2
) -> Figure:
    """The same prompts, one kind of picture a row.

    rows: (label, (N, S, S, C)) of each kind, N the same.  captions: N.  blocks: how many times the rows are repeated.
    """
    columns = min(_COLUMNS, len(captions))
    pictures: list[Pixels] = []
    texts: list[str] = []
    labels: list[str] = []
    for start in range(0, min(len(captions), blocks * columns), columns):
        chosen = captions[start : start + columns]
        blank = [np.zeros_like(rows[0][1][0])] * (columns - len(chosen))
        for number, (label, kind) in enumerate(rows):
            pictures += [*kind[start : start + len(chosen)], *blank]
            last = number == len(rows) - 1
            texts += [*(chosen if last else [""] * len(chosen)), *[""] * len(blank)]
            labels.append(label)
    return _figure(caption, pictures, texts, labels)


def extremes_figure(generated: Pixels, captions: Sequence[str], scores: Floats, caption: str) -> Figure:
    """The best and the worst pictures by their scores (N,)."""
    falling = np.argsort(-scores, kind="stable")
    count = min(_COLUMNS, len(falling))
    chosen = [*falling[:count], *falling[::-1][:count]]
    texts = [f"{captions[i]}: {scores[i]:.0f}" for i in chosen]
    return _figure(caption, [generated[i] for i in chosen], texts, ["best", "worst"])


def nearest_figure(
    generated: Pixels, training: Sequence[Sequence[Pixels]], ratios: Sequence[float], caption: str
) -> Figure:
    """The pictures most likely to be copies above their nearest training pictures.

    training: for each picture its nearest ones, equally many.  ratios: (N,), the lowest are shown.
    """
    chosen = np.argsort(np.array(ratios), kind="stable")[:_COLUMNS]
    kinds = [("generated", [generated[i] for i in chosen])]
    for rank in range(len(training[0])):
        kinds.append(("nearest" if rank == 0 else f"{rank + 1}", [training[i][rank] for i in chosen]))
    pictures = [picture for _, kind in kinds for picture in kind]
    texts = [f"ratio {ratios[i]:.2f}" for i in chosen] + [""] * (len(pictures) - len(chosen))
    return _figure(caption, pictures, texts, [label for label, _ in kinds])


def _figure(
    caption: str, pictures: Sequence[Pixels], captions: Sequence[str], labels: Sequence[str] | None = None
) -> Figure:
    scale = max(1, _SIDE // max(picture.shape[0] for picture in pictures))
    columns = None if labels else min(_COLUMNS, len(pictures))
    pixels = sheet(pictures, columns, list(captions), labels, scale=scale, gap=8, background="checker")
    return caption, Image.fromarray(pixels)
