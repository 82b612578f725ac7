"""The learning rate over a run, and when the run ends: after a number of pictures, or after a time.

With a budget in seconds the number of pictures is not known beforehand, because machines slow down and recover:

- The learning rate stays at its peak until the fraction of the budget that is left equals the cool-down.
- Then the number of pictures of the cool-down is decided from the recent training speed, and revised several times.
- Each decision is written to the run folder before it takes effect. After that everything is a function of the pictures
  seen, so a run that is killed and resumed repeats the decisions and ends with the same bits.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.train.config import TrainConfig

NAME = "schedule.json"

DECISIONS = 10
"""How often the length of the cool-down is decided; an error in the speed affects only the time since the last."""

RECENT = 0.1
"""The training speed is measured over this fraction of the budget."""


@dataclass(frozen=True)
class Decision:
    """From `start` pictures on the learning rate falls from `factor` times its peak to zero at `end` pictures."""

    start: int
    factor: float
    end: int


@dataclass
class Schedule:
    """The learning rate as a function of the pictures seen.

    config: with a budget the clock decides, without one the number of pictures.
    decisions: in rising order of `start`; empty without a budget.
    """

    config: TrainConfig
    decisions: list[Decision] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, config: TrainConfig) -> "Schedule":
        """The schedule with the decisions in a run folder. UserError where they cannot be read."""
        path = folder / NAME
        if config.budget is None or not path.exists():
            return cls(config)
        try:
            return cls(config, [Decision(**one) for one in json.loads(path.read_text(encoding="utf-8"))])
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); begin the run anew in another folder") from None

    def save(self, folder: Path) -> None:
        """Write the decisions to a run folder."""
        write_atomic(folder / NAME, json.dumps([asdict(one) for one in self.decisions], indent=1))

    def in_force(self, images_seen: int) -> Decision | None:
        """The last decision made before this picture, or None."""
        return next((one for one in reversed(self.decisions) if one.start <= images_seen), None)

    def lr_factor(self, images_seen: int) -> float:
        """The learning rate as a fraction of its peak."""
        if self.config.budget is None:
            return self.config.lr_factor(images_seen)
        decision = self.in_force(images_seen)
        if decision is None:
            return self.config.rise(images_seen)
        left = (decision.end - images_seen) / max(decision.end - decision.start, 1)
        return decision.factor * min(max(left, 0.0), 1.0)

    def end(self, images_seen: int) -> int | None:
        """The number of pictures at the end of the run; None where that is not decided yet."""
        if self.config.budget is None:
            return self.config.total_steps * self.config.batch_size
        decision = self.in_force(images_seen)
        return None if decision is None else decision.end

    def finished(self, images_seen: int) -> bool:
        """Whether the run ends after this many pictures."""
        end = self.end(images_seen)
        return end is not None and images_seen >= end

    def expected(self, images_seen: int) -> int:
        """The expected number of pictures at the end of the run."""
        return self.end(images_seen) or max(self.config.images, images_seen)


class Clock:
    """Makes the decisions of a run with a budget.

    schedule: of the run; decisions are made after those that it holds.
    used: seconds of the budget used before.
    closing: seconds needed after the last step, for the last evaluation and the model file.
    now: a monotonic clock, in seconds.
    """

    def __init__(self, schedule: Schedule, used: float, closing: float, now: Callable[[], float]) -> None:
        assert schedule.config.budget is not None
        self.schedule, self.closing, self._now = schedule, closing, now
        self._budget = schedule.config.budget
        self._origin = now() - used
        self._marks: list[tuple[float, int]] = []

    @property
    def used(self) -> float:
        """Seconds of the budget used so far."""
        return self._now() - self._origin

    def decide(self, images_seen: int) -> Decision | None:
        """The decision to make after this many pictures, or None. To be called once after every step."""
        used, config = self.used, self.schedule.config
        self._mark(used, images_seen)
        for_steps = max(self._budget - self.closing, 0.0)
        before = self.schedule.in_force(images_seen)
        if self.schedule.decisions and self.schedule.decisions[-1] != before:
            return None  # a resumed run repeats its earlier decisions first
        if before is None:
            if used < for_steps * (1 - config.cooldown):
                return None
            return self._decided(images_seen, used, for_steps, config.rise(images_seen))
        first = self.schedule.decisions[0]
        stage = len(self.schedule.decisions)
        due = before.start + (before.end - before.start) / max(DECISIONS + 1 - stage, 1)
        if stage >= DECISIONS or images_seen < due or images_seen >= before.end or first.end <= first.start:
            return None
        return self._decided(images_seen, used, for_steps, self.schedule.lr_factor(images_seen))

    def _decided(self, images_seen: int, used: float, for_steps: float, factor: float) -> Decision:
        batch = self.schedule.config.batch_size
        steps = max(1, int(self._rate() * max(for_steps - used, 0.0) / batch))
        return Decision(images_seen, factor, images_seen + steps * batch)

    def _mark(self, used: float, images_seen: int) -> None:
        self._marks.append((used, images_seen))
        since = used - RECENT * self._budget
        while len(self._marks) > 2 and self._marks[1][0] <= since:
            self._marks.pop(0)

    def _rate(self) -> float:
        """Recent training speed in pictures a second; the time between two steps counts too."""
        (start, before), (end, now) = self._marks[0], self._marks[-1]
        return (now - before) / max(end - start, 1e-9) if now > before else 0.0
