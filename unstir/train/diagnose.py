"""Faults in training, found in the log: each has a name and a sentence with the usual remedy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unstir.models.clip import LARGEST_SCALE
from unstir.train.config import TrainConfig

Line = Mapping[str, float | str]

GRACE = 100
"""Steps after the warm-up in which only a loss that is not finite counts as a fault."""

LINES = 5
"""A fault must last for so many log lines, and for GRACE steps."""

NEAR_CHANCE = 0.97
"""A loss above this fraction of the chance loss counts as no better than chance."""

COLLAPSED = 0.9
"""A mean cosine of different vectors above this counts as collapsed; after training it is well below 0.5."""

NOT_FINITE = "the loss or its gradient is NaN or infinite: lower the learning rate, or train in fp32"


@dataclass(frozen=True)
class Finding:
    """A fault.

    name: identifies the kind of fault.
    sentence: what was found, and what usually helps.
    """

    name: str
    sentence: str


def diagnose(lines: Sequence[Line], config: TrainConfig) -> list[Finding]:
    """The faults of a run at the end of its log.

    lines: of the log, in order. Used are `loss`, and if present `chance` (the loss of a model that ignores its input),
        `scale`, `cosine of pictures` and `cosine of captions`. Lines without a loss are skipped.
    config: of the run.
    """
    lines_with_loss = [line for line in lines if "loss" in line]
    if not lines_with_loss:
        return []
    if not math.isfinite(float(lines_with_loss[-1]["loss"])):
        return [Finding("not finite", NOT_FINITE)]
    lasting = _lasting(lines_with_loss, config)
    if not lasting:
        return []
    compares = "scale" in lasting[-1]
    found = []
    if _all(lasting, "loss", lambda loss, line: "chance" in line and loss > NEAR_CHANCE * float(line["chance"])):
        found.append(_no_better(float(lasting[-1]["loss"]), float(lasting[-1]["chance"]), compares))
    if _all(lasting, "scale", lambda scale, _: scale > 0.99 * LARGEST_SCALE):
        found.append(
            Finding(
                "temperature at its end",
                f"the scale of the cosines has stayed at its largest, {LARGEST_SCALE:.0f}: there may be nothing left "
                "to learn from these pictures; stop earlier, augment, add pictures, or lower the learning rate",
            )
        )
    for what in ("pictures", "captions"):
        name = f"cosine of {what}"
        if _all(lasting, name, lambda cosine, _: cosine > COLLAPSED):
            found.append(
                Finding(
                    f"{what} collapsed",
                    f"all {what} get nearly the same vector (mean cosine {float(lasting[-1][name]):.2f}): lower the "
                    f"learning rate, lengthen the warm-up, and see that the {what} differ",
                )
            )
    return found


def _lasting(lines: Sequence[Line], config: TrainConfig) -> Sequence[Line]:
    """The last LINES lines or more, over GRACE steps or more; none while the run is too short."""
    start = config.warmup + GRACE * config.batch_size
    now = float(lines[-1]["images"])
    first = len(lines)
    while first > 0 and (len(lines) - first < LINES or now - float(lines[first]["images"]) < GRACE * config.batch_size):
        first -= 1
        if float(lines[first]["images"]) < start:
            return []
    return lines[first:] if len(lines) - first >= LINES else []


def _all(lines: Sequence[Line], name: str, wrong: Callable[[float, Line], bool]) -> bool:
    return all(name in line and wrong(float(line[name]), line) for line in lines)


def _no_better(loss: float, chance: float, compares: bool) -> Finding:
    if compares:
        return Finding(
            "no better than chance",
            f"the loss stays at {loss:.2f}, where chance is at {chance:.2f}: see that captions and pictures "
            "belong together, then try a learning rate of a third, or three times as high",
        )
    return Finding(
        "no better than the mean",
        f"the loss stays at {loss:.2f}, where drawing the mean of all pictures is at {chance:.2f}: try a learning rate "
        "of a third, or three times as high, and see that the pictures are whole",
    )
