"""The pictures of the report: what was drawn, beside what is real, and what stands out."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image

from unstir.evaluate.generation import Pixels
from unstir.evaluate.rows import Floats
from unstir.image.sheet import sheet

Figure: TypeAlias = tuple[str, Image.Image]

_COLUMNS = 9
_SIDE = 96  # px that small pictures are enlarged to, pixel by pixel


def drawn_plate(drawn: Pixels, captions: Sequence[str], words: str, rows: int = 3) -> Figure:
    """The first pictures of a side, none chosen, each with its caption. drawn: (N, S, S, C), N >= 1."""
    count = min(len(drawn), rows * _COLUMNS)
    return _figure(words, list(drawn[:count]), captions[:count])


def compared_plate(rows: Sequence[tuple[str, Pixels]], captions: Sequence[str], words: str, blocks: int = 2) -> Figure:
    """The same prompts, one kind of picture a row.

    rows: (label, (N, S, S, C)) of each kind, N the same.  captions: N.  blocks: how many times the rows come.
    """
    across = min(_COLUMNS, len(captions))
    pictures: list[Pixels] = []
    texts: list[str] = []
    labels: list[str] = []
    for start in range(0, min(len(captions), blocks * across), across):
        chosen = captions[start : start + across]
        blank = [np.zeros_like(rows[0][1][0])] * (across - len(chosen))
        for place, (label, kind) in enumerate(rows):
            pictures += [*kind[start : start + len(chosen)], *blank]
            last = place == len(rows) - 1
            texts += [*(chosen if last else [""] * len(chosen)), *[""] * len(blank)]
            labels.append(label)
    return _figure(words, pictures, texts, labels)


def extremes_plate(drawn: Pixels, captions: Sequence[str], scores: Floats, words: str) -> Figure:
    """The best and the worst by their scores (N,)."""
    falling = np.argsort(-scores, kind="stable")
    count = min(_COLUMNS, len(falling))
    chosen = [*falling[:count], *falling[::-1][:count]]
    texts = [f"{captions[i]}: {scores[i]:.0f}" for i in chosen]
    return _figure(words, [drawn[i] for i in chosen], texts, ["best", "worst"])


def nearest_plate(drawn: Pixels, training: Sequence[Sequence[Pixels]], ratios: Sequence[float], words: str) -> Figure:
    """The pictures most likely to be copies above their nearest training pictures.

    training: for each picture its nearest ones, all of one number.  ratios: (N,), the lowest are shown.
    """
    chosen = np.argsort(np.array(ratios), kind="stable")[:_COLUMNS]
    kinds = [("drawn", [drawn[i] for i in chosen])]
    for place in range(len(training[0])):
        kinds.append(("nearest" if place == 0 else f"{place + 1}", [training[i][place] for i in chosen]))
    pictures = [picture for _, kind in kinds for picture in kind]
    texts = [f"ratio {ratios[i]:.2f}" for i in chosen] + [""] * (len(pictures) - len(chosen))
    return _figure(words, pictures, texts, [label for label, _ in kinds])


def _figure(
    words: str, pictures: Sequence[Pixels], captions: Sequence[str], labels: Sequence[str] | None = None
) -> Figure:
    scale = max(1, _SIDE // max(picture.shape[0] for picture in pictures))
    columns = None if labels else min(_COLUMNS, len(pictures))
    drawn = sheet(pictures, columns, list(captions), labels, scale=scale, gap=8, background="checker")
    return words, Image.fromarray(drawn)
