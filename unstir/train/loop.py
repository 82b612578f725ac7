"""The training loop: one for every paradigm. A generator: whoever wants a progress bar or a cancel button iterates."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic

from unstir.train import kinds
from unstir.train.diagnose import NOT_FINITE, Finding
from unstir.train.distributed import any_process, barrier, is_first, largest
from unstir.train.monitor import Monitor, better
from unstir.train.run import Diverged, M, Run
from unstir.train.schedule import Clock, Decision

__all__ = ["Diverged", "Progress", "Run", "training_loop"]


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    images: how many pictures it will see, or is expected to see, in all.
    loss: mean since the last report; the sum over the parts where there are several.
    rate: pictures a second.
    seconds_left: at this rate, or until the budget ends.
    event: "log", "stopped" or "done".
    warnings: faults that show for the first time, each a sentence.
    """

    images_seen: int
    images: int
    loss: float
    rate: float
    seconds_left: float
    event: str = "log"
    warnings: tuple[str, ...] = ()


def training_loop(
    run: Run[M],
    *,
    sample: Callable[[Run[M]], None] | None = None,
    measure: Callable[[Run[M]], Mapping[str, float]] | None = None,
    keep: Callable[[Run[M]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    tensorboard: bool = False,
    used: float = 0.0,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Train from wherever the folder's checkpoint is to the end, yielding a Progress at every log line.

    sample: draws the sample grid; called at 0 pictures, every `sample_every` and at the end.
    measure: numbers for the log, at the same times, beside those of validation; called while the model has its
        averaged weights.
    keep: called when these numbers are the best so far, by what the configuration says.
    stop: asked after every step; when true the run is saved and the generator ends.
    used: seconds of the budget that this command has used before.
    now: the clock of the budget.
    A run that is killed anywhere and continued by calling this again ends in the very same bits. Of several processes
    that train together the first alone calls these functions (all ask `stop`, and one is enough) and writes.
    """
    continued = run.restore()
    barrier()  # restoring clears away what a killed run left: nobody may write before all have done so
    if run.config.compile:
        run.model.compile_loss()
    monitor = None
    if is_first():
        monitor = Monitor(run.folder, kinds.training(run.kind), run.pictures, run.config, run.images_seen, tensorboard)
    try:
        yield from _Loop(run, monitor, sample, measure, keep, used, now).steps(continued, stop)
    except Diverged:
        if monitor is not None:
            monitor.warn(run.images_seen, Finding("not finite", NOT_FINITE))
        raise
    finally:
        if monitor is not None:
            monitor.close()
        run.source.release()


@dataclass
class _Loop(Generic[M]):
    """One call of `training_loop`.

    rate: pictures a second, smoothed.
    since, seen_then: when it was last measured.
    evaluation_seconds: how long the last evaluation took.
    """

    run: Run[M]
    monitor: Monitor | None
    sample: Callable[[Run[M]], None] | None
    measure: Callable[[Run[M]], Mapping[str, float]] | None
    keep: Callable[[Run[M]], None] | None
    used: float
    now: Callable[[], float]
    rate: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    seen_then: int = 0
    evaluation_seconds: float = 0.0
    clock: Clock | None = None

    def steps(self, continued: bool, stop: Callable[[], bool]) -> Iterator[Progress]:
        run, config = self.run, self.run.config
        if config.budget is not None:
            self.clock = Clock(run.schedule, run.seconds + self.used, 0.0, self.now)
        if not continued:
            self.evaluate()
        self.measure_rate_from_here()
        while not run.schedule.finished(run.images_seen):
            run.step()
            if self.crossed(config.log_every):
                yield self.log()
            stopped = any_process(stop())
            self.decide()
            done = run.schedule.finished(run.images_seen)
            # Samples go before the checkpoint: killed between the two, a run comes here again and draws what it lacks.
            if done or (self.crossed(config.sample_every) and self.time_to_evaluate()):
                self.evaluate()
                self.measure_rate_from_here()
            if self.crossed(config.save_every) or done or stopped:
                self.save()
            if done or stopped:
                yield self.progress("done" if done else "stopped")
                return

    def crossed(self, every: int) -> bool:
        """Whether the last step went over a multiple of this many pictures."""
        seen = self.run.images_seen
        return seen // every > (seen - self.run.config.batch_size) // every

    def time_to_evaluate(self) -> bool:
        """Whether the budget allows an evaluation besides the last one."""
        budget = self.run.config.budget
        if self.clock is None or budget is None:
            return True
        return self.clock.used + 2 * self.evaluation_seconds < budget

    def measure_rate_from_here(self) -> None:
        """Count the rate from here: what was done since is no training."""
        self.since, self.seen_then = time.perf_counter(), self.run.images_seen

    def decide(self) -> None:
        """Let the clock decide, on the first process, and write the decision down before anything follows from it."""
        run = self.run
        if self.clock is None:
            return
        self.clock.closing = self.evaluation_seconds
        decision = self.clock.decide(run.images_seen) if is_first() else None
        end = largest(decision.end if decision else 0)
        if not end:
            return
        # Each process computes the factor for itself, from the same decisions.
        factor = run.schedule.lr_factor(run.images_seen)
        run.schedule.decisions.append(Decision(run.images_seen, factor, end))
        if is_first():
            run.schedule.save(run.folder)

    def save(self) -> None:
        if self.monitor is None:
            return
        if self.clock is not None:
            self.run.seconds = self.clock.used
        self.run.save()

    def progress(self, event: str, warnings: tuple[str, ...] = ()) -> Progress:
        run, total = self.run, self.run.schedule.expected(self.run.images_seen)
        if run.images_seen > self.seen_then:
            fresh = (run.images_seen - self.seen_then) / max(time.perf_counter() - self.since, 1e-9)
            self.rate = fresh if self.rate == 0 else 0.7 * self.rate + 0.3 * fresh
            self.measure_rate_from_here()
        left = (total - run.images_seen) / max(self.rate, 1e-9)
        if self.clock is not None and run.config.budget is not None:
            left = max(run.config.budget - self.clock.used, 0.0)
        return Progress(run.images_seen, total, sum(run.mean_losses().values()), self.rate, left, event, warnings)

    def log(self) -> Progress:
        """Write a line of the log, and begin the next mean."""
        run = self.run
        progress = self.progress("log")
        if self.monitor is not None:
            values = {"loss": progress.loss, "lr": run.schedule.lr_factor(run.images_seen)}
            parts = run.mean_losses()
            if len(parts) > 1:
                values |= {f"loss of {name}": value for name, value in parts.items()}
            metrics = kinds.training(run.kind).metrics(run.model, run.last_batch)
            values |= {"rate": round(progress.rate, 2), **metrics}
            found = self.monitor.write(run.images_seen, values)
            progress = replace(progress, warnings=tuple(finding.sentence for finding in found))
        run.clear_losses()
        return progress

    def evaluate(self) -> None:
        """Measure, keep the best, draw samples: what the first process does while the others wait."""
        run, monitor = self.run, self.monitor
        if monitor is None:
            return
        began = self.now()
        with run.evaluating() as model:
            values = monitor.measured(model, run.images_seen, lambda: self.measure(run) if self.measure else {})
        value = better(values, run.config.best, run.best)
        if value is not None:
            if self.keep is not None:
                self.keep(run)
            run.best = value
        if self.sample is not None:
            self.sample(run)
        self.evaluation_seconds = self.now() - began
