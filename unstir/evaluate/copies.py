"""Does the model copy? `memory`, by pixels and by what a CLIP sees, as rows of a table and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unstir.evaluate.memory import memory, neighbours
from unstir.evaluate.report import Row, row_of
from unstir.evaluate.rows import Indices
from unstir.evaluate.shares import Share, share
from unstir.evaluate.shelf import Vectors

_THRESHOLD = 1 / 3
_SHOWN = 3
_SURE = 0.01
"""A share of copies below which nothing is said of them."""


@dataclass(frozen=True, eq=False)
class Copies:
    """by: "pixels" or "CLIP".  copied: share of the pictures, by the side of their prompts.

    false_alarm: share of real pictures held out that are flagged; closer: see `memory`; None where nothing is held out.
    nearest: (N, 3) rows of the training set, nearest first.  ratios: (N,) below the threshold for a copy.
    """

    by: str
    copied: dict[str, Share]
    false_alarm: Share | None
    closer: Share | None
    nearest: tuple[tuple[int, ...], ...]
    ratios: tuple[float, ...]

    def rows(self) -> list[Row]:
        floor = self.false_alarm.value if self.false_alarm is not None else None
        rows = [row_of(f"copies, by {self.by}, {side} prompts", one, floor=floor) for side, one in self.copied.items()]
        if self.closer is not None:
            rows.append(row_of(f"nearer to training than 99 % of new ones, by {self.by}", self.closer))
        return rows


def copies(
    by: str, drawn: Vectors, held_out: Vectors, training: Vectors, groups: Sequence[str], sides: Mapping[str, Indices]
) -> Copies | None:
    """Search the training set (M, D) for each picture drawn (N, D). None if all of it shows one and the same.

    held_out: (H, D), H may be 0.  groups: M ids; training pictures of one id show the same.
    sides: by name, which of the N pictures are told of together.
    """
    if len(set(groups)) < 2 or len(training) < _SHOWN:
        return None
    ids = np.array(groups)
    alarm: Share | None = None
    closer: Share | None = None
    if len(held_out):
        found = memory(drawn, held_out, training, ids, _SHOWN, _THRESHOLD)
        alarm, closer, nearest, ratios = found.false_alarm, found.closer, found.nearest, found.ratios
    else:
        near = neighbours(drawn, training, ids, _SHOWN)
        nearest, ratios = tuple(map(tuple, near.rows.tolist())), tuple(near.ratios.tolist())
    flagged = np.array(ratios) < _THRESHOLD
    copied = {side: share(int(flagged[places].sum()), len(places)) for side, places in sides.items()}
    return Copies(by, copied, alarm, closer, nearest, ratios)


def sentence(found: Sequence[Copies]) -> str:
    """What the searches say of each side; "" for none."""
    if not found:
        return ""
    told = []
    for side in found[0].copied:
        worst = max(found, key=lambda one: one.copied[side].value)
        one = worst.copied[side]
        numbers = f"{one.right} of {one.total} pictures for {side} captions are flagged, by {worst.by}"
        if worst.false_alarm is None:
            told.append(numbers)
            continue
        alarm = worst.false_alarm
        numbers += f", where real held-out pictures give {100 * alarm.value:.1f} %"
        if one.low > max(alarm.high, _SURE):
            told.append(f"it copies: {numbers}")
        elif one.low > max(alarm.value, _SURE):
            told.append(f"some may be copies: {numbers}")
        else:
            told.append(f"no sign of copies: {numbers}")
    return f"Memory: {'; '.join(told)}."
