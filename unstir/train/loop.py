"""The training loop, the same for every paradigm: a generator that yields the progress."""

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
    """The state of a run.

    images_seen: the training clock.
    images: pictures at the end of the run, estimated where a budget decides.
    loss: the mean since the last log line; the sum over the parts if there are several.
    rate: pictures a second.
    seconds_left: at this rate, or until the budget ends.
    event: "log", "stopped" or "done".
    warnings: faults found for the first time, each a sentence.
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
    """Train from the checkpoint in the run folder, or from the beginning, to the end.

    A run that is killed and resumed by calling this again ends with the same bits. Of several processes that train
    together, only the first one calls `sample`, `measure` and `keep`, and writes.
    sample: draws the sample grid; called at 0 pictures, every `sample_every` and at the end.
    measure: further metrics for the log, at the same times; called while the model has its averaged weights.
    keep: called when the metric that the configuration names is the best so far.
    stop: called after every step; if it is true in any process, the run is saved and the generator ends.
    tensorboard: write TensorBoard files too.
    used: seconds of the budget that this command has used before.
    now: the clock of the budget.
    Yields a Progress at every log line.
    Raises Diverged where the loss is not finite, ValueError where the checkpoint is of another run.
    """
    continued = run.restore()
    barrier()  # restoring removes temporary files: no process may write before all have restored
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
    since, seen_then: time and training clock when it was last measured.
    evaluation_seconds: how long the last evaluation took.
    clock: of the budget, or None.
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
            # Samples are drawn before the checkpoint: a run that is killed between the two draws them again.
            if done or (self.crossed(config.sample_every) and self.time_to_evaluate()):
                self.evaluate()
                self.measure_rate_from_here()
            if self.crossed(config.save_every) or done or stopped:
                self.save()
            if done or stopped:
                yield self.progress("done" if done else "stopped")
                return

    def crossed(self, every: int) -> bool:
        """Whether the last step passed a multiple of this many pictures."""
        seen = self.run.images_seen
        return seen // every > (seen - self.run.config.batch_size) // every

    def time_to_evaluate(self) -> bool:
        """Whether the budget allows another evaluation besides the last one."""
        budget = self.run.config.budget
        if self.clock is None or budget is None:
            return True
        return self.clock.used + 2 * self.evaluation_seconds < budget

    def measure_rate_from_here(self) -> None:
        """Measure the rate from now on: the time since the last step was not spent on training."""
        self.since, self.seen_then = time.perf_counter(), self.run.images_seen

    def decide(self) -> None:
        """Let the clock of the first process decide on the end of the run, and write the decision before it is used."""
        run = self.run
        if self.clock is None:
            return
        self.clock.closing = self.evaluation_seconds
        decision = self.clock.decide(run.images_seen) if is_first() else None
        end = largest(decision.end if decision else 0)
        if not end:
            return
        # Every process computes the same factor from the same decisions.
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
            if run.schedule.end(run.images_seen) is None:  # the first estimate may be far off
                total = run.images_seen + round(left * self.rate)
        return Progress(run.images_seen, total, sum(run.mean_losses().values()), self.rate, left, event, warnings)

    def log(self) -> Progress:
        """Write a log line, and set the mean loss back."""
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
        """Validate, keep the best weights and draw samples, in the first process while the others wait."""
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
