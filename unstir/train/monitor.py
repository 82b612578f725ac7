"""What is written down while a run trains: its log, its measures, its faults, its samples and its best weights."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from unstir.data.pictures import Pictures
from unstir.models.generative import Trainable
from unstir.train.config import TrainConfig
from unstir.train.diagnose import Finding, Line, diagnose
from unstir.train.kinds import Training, held_out_pictures
from unstir.train.log import Log

Measures = Mapping[str, float]


class Monitor:
    """The log of one run, from `images_seen` on. Only the first of several processes has one.

    held: pictures to measure by.
    """

    def __init__(
        self,
        folder: Path,
        training: Training,
        pictures: Pictures,
        config: TrainConfig,
        images_seen: int,
        tensorboard: bool,
    ) -> None:
        self.config, self.training = config, training
        self.held = held_out_pictures(pictures, config)
        self.log = Log(folder, images_seen, tensorboard)
        self.lines: list[Line] = list(Log.lines(folder))
        self.named = {line["warning"] for line in self.lines if "warning" in line}

    def write(self, images_seen: int, values: Measures) -> list[Finding]:
        """A line of the log. Returns the faults that show now for the first time; they are in the log then too."""
        self.log.write(images_seen, values)
        self.lines.append({"images": images_seen, **values})
        return [found for found in diagnose(self.lines, self.config) if self.warn(images_seen, found)]

    def warn(self, images_seen: int, found: Finding) -> bool:
        """Write this fault down; False if it is in the log already."""
        if found.name in self.named:
            return False
        self.named.add(found.name)
        self.log.write(images_seen, {"warning": found.name, "words": found.sentence})
        return True

    def measured(self, model: Trainable, images_seen: int, more: Callable[[], Measures]) -> dict[str, float]:
        """Measure a model, with its averaged weights in place, and write it down.

        more: further measures, from outside.
        """
        values = {**self.training.validate(model, self.held, self.config.batch_size), **more()}
        if values:
            self.log.write(images_seen, values)
            self.lines.append({"images": images_seen, **values})
        return values

    def close(self) -> None:
        self.log.close()


def better(values: Measures, best: str, before: float | None) -> float | None:
    """The value by which these are the best so far, or equal to them, or None if they are not.

    best: "least NAME" or "most NAME", "" for nothing.  before: the best value until now.
    ValueError where that is not among what is measured.
    """
    if not best:
        return None
    direction, _, name = best.partition(" ")
    if name not in values:
        known = ", ".join(values) or "nothing (see `validation`)"
        raise ValueError(f"the best weights are to be chosen by {name!r}, and measured is: {known}")
    value = float(values[name])
    if math.isnan(value) or (before is not None and (value > before if direction == "least" else value < before)):
        return None
    return value
