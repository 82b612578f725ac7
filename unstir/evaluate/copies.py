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
    """What the search that flags most says of each side; "" for none."""
    if not found:
        return ""
    worst = max(found, key=lambda one: max(copied.value for copied in one.copied.values()))
    alarm = worst.false_alarm
    told = []
    for side, one in worst.copied.items():
        verdict = f" ({_verdict(one, alarm)})" if alarm is not None else ""
        told.append(f"{one.right} of {one.total} pictures for {side} captions{verdict}")
    end = f"; of real held-out pictures {100 * alarm.value:.1f} % are flagged" if alarm is not None else ""
    return f"Flagged as copies, by {worst.by}: {', '.join(told)}{end}."


def _verdict(copied: Share, alarm: Share) -> str:
    if copied.low > max(alarm.high, _SURE):
        return "it copies" if copied.value > 1 / 2 else "some are copies"
    return "some may be copies" if copied.low > max(alarm.value, _SURE) else "no sign of copying"
