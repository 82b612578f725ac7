"""Does the model copy? `memory`, by pixels and by what a CLIP sees, as rows of a table and words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unstir.evaluate.memory import memory, neighbours
from unstir.evaluate.report import Row, row_of
from unstir.evaluate.shares import Share, share
from unstir.evaluate.shelf import Vectors

_THRESHOLD = 1 / 3
_SHOWN = 3
_SURE = 0.01  # of copies beyond the false alarm, below which nothing is said of them


@dataclass(frozen=True, eq=False)
class Copies:
    """by: "pixels" or "CLIP".  copied: share of the pictures.  false_alarm: of the real ones held out, if there are.

    closer: see `memory`; None where nothing is held out.
    nearest: (N, 3) rows of the training set, nearest first.  ratios: (N,) below the threshold for a copy.
    """

    by: str
    copied: Share
    false_alarm: Share | None
    closer: Share | None
    nearest: tuple[tuple[int, ...], ...]
    ratios: tuple[float, ...]

    @property
    def suspicious(self) -> bool:
        """Whether surely more pictures are flagged than held-out ones are by mistake."""
        known = self.false_alarm.high if self.false_alarm is not None else 0.0
        return self.copied.low > max(known, _SURE)

    def rows(self) -> list[Row]:
        floor = self.false_alarm.value if self.false_alarm is not None else None
        rows = [row_of(f"copies, by {self.by}", self.copied, floor=floor)]
        if self.closer is not None:
            rows.append(row_of(f"nearer to training than 99 % of new ones, by {self.by}", self.closer))
        return rows


def copies(by: str, drawn: Vectors, held_out: Vectors, training: Vectors, groups: Sequence[str]) -> Copies | None:
    """Search the training set (M, D) for each picture drawn (N, D). None if all of it shows one and the same.

    held_out: (H, D), H may be 0.  groups: M ids; training pictures of one id show the same.
    """
    if len(set(groups)) < 2 or len(training) < _SHOWN:
        return None
    ids = np.array(groups)
    if len(held_out):
        found = memory(drawn, held_out, training, ids, _SHOWN, _THRESHOLD)
        return Copies(by, found.copied, found.false_alarm, found.closer, found.nearest, found.ratios)
    near = neighbours(drawn, training, ids, _SHOWN)
    copied = share(int((near.ratios < _THRESHOLD).sum()), len(drawn))
    nearest = tuple(map(tuple, near.rows.tolist()))
    return Copies(by, copied, None, None, nearest, tuple(near.ratios.tolist()))


def sentence(found: Sequence[Copies]) -> str:
    """What the searches say together; "" for none."""
    if not found:
        return ""
    worst = max(found, key=lambda one: one.copied.value)
    alarm = f", where held-out real pictures give {_percent(worst.false_alarm)}" if worst.false_alarm else ""
    flagged = f"{worst.copied.right} of {worst.copied.total} pictures are flagged as copies by {worst.by}{alarm}"
    if any(one.suspicious for one in found):
        return f"It copies its training pictures: {flagged}."
    return f"There is no sign that it copies: {flagged}." if worst.false_alarm else f"{flagged}."


def _percent(one: Share) -> str:
    return f"{100 * one.value:.1f} %"
