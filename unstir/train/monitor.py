"""The log of a run while it trains: losses, validation metrics and warnings; and which weights are the best."""

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
    """Writes the log of one run. Only the first of several processes has one.

    folder: of the run.
    training: how its kind is trained.
    pictures, config: of the run; they give the held-out pictures.
    images_seen: where the log continues.
    tensorboard: write TensorBoard files too.
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
        """Write a line. Returns the faults that are found for the first time, which are written too."""
        self.log.write(images_seen, values)
        self.lines.append({"images": images_seen, **values})
        return [found for found in diagnose(self.lines, self.config) if self.warn(images_seen, found)]

    def warn(self, images_seen: int, found: Finding) -> bool:
        """Write a fault; False if the log has it already."""
        if found.name in self.named:
            return False
        self.named.add(found.name)
        self.log.write(images_seen, {"warning": found.name, "words": found.sentence})
        return True

    def measured(self, model: Trainable, images_seen: int, more: Callable[[], Measures]) -> dict[str, float]:
        """Validate a model and write the metrics.

        model: with its averaged weights.
        more: gives further metrics.
        Returns all of them by name.
        """
        values = {**self.training.validate(model, self.held, self.config.batch_size), **more()}
        if values:
            self.log.write(images_seen, values)
            self.lines.append({"images": images_seen, **values})
        return values

    def close(self) -> None:
        self.log.close()


def better(values: Measures, best: str, before: float | None) -> float | None:
    """The value of the metric that selects the best weights, if it is at least as good as before; None otherwise.

    values: metrics by name.
    best: "least NAME" or "most NAME"; "": no selection.
    before: the best value so far.
    ValueError where the metric is not among the values.
    """
    if not best:
        return None
    direction, _, name = best.partition(" ")
    if name not in values:
        known = ", ".join(values) or "nothing (see `validation`)"
        raise ValueError(f"the best weights are selected by {name!r}, but the metrics are: {known}")
    value = float(values[name])
    if math.isnan(value) or (before is not None and (value > before if direction == "least" else value < before)):
        return None
    return value
