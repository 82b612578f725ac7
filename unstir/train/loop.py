"""The training loop: one for every paradigm. A generator: whoever wants a progress bar or a cancel button iterates."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from unstir.data.pictures import Pictures
from unstir.models.build import dataclass_from
from unstir.models.generative import Trainable
from unstir.train import checkpoint as checkpoints
from unstir.train.batches import rng_at
from unstir.train.checkpoint import Checkpoint
from unstir.train.config import TrainConfig
from unstir.train.diagnose import NOT_FINITE, Finding
from unstir.train.distributed import any_process, average_gradients, barrier, is_first
from unstir.train.ema import Average, trainable
from unstir.train.monitor import Monitor, better
from unstir.train.optim import Optimiser
from unstir.train.train_metrics import train_metrics

M = TypeVar("M", bound=Trainable)


class Diverged(Exception):
    """The loss or its gradient is no number any more."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. loss: mean since the last report.  rate: pictures a second.  seconds_left: at this rate.

    warnings: faults that show for the first time, each a sentence.
    """

    images_seen: int
    images: int
    loss: float
    rate: float
    seconds_left: float
    event: str = "log"
    warnings: tuple[str, ...] = ()


@dataclass
class Run(Generic[M]):
    """A model on its way: everything that changes while training, and the folder where it is kept.

    next_batch: what to train on after so many pictures: a pure function of that number.  release: lets go of what
    makes the batches.  best: by the measure that the configuration names, of the weights that were kept as the best.
    """

    folder: Path
    model: M
    pictures: Pictures
    config: TrainConfig
    next_batch: Callable[[int], Any]
    release: Callable[[], None] = lambda: None
    images_seen: int = 0
    loss_sum: Tensor = field(init=False)
    loss_count: int = 0
    optimisers: dict[str, Optimiser] = field(init=False)
    average: Average = field(init=False)
    best: float | None = None
    last_batch: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        # Kept on the device: to read a loss is to wait for it, and a GPU that is waited for at every step idles.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.model.device)
        self.optimisers = {name: Optimiser(part, self.config) for name, part in self.model.parts().items()}
        self.average = Average(self.model, self.config.ema)

    def save(self) -> None:
        """Write the checkpoint: after this a kill costs nothing. Diverged, and nothing written, if the run has."""
        self.mean_loss()
        tensors: dict[str, Tensor] = {f"model/{n}": p for n, p in trainable(self.model).items()}
        tensors |= {f"average/{n}": p for n, p in self.average.weights.items()}
        for part, optimiser in self.optimisers.items():
            tensors |= {f"optimiser/{part}/{n}": v for n, v in optimiser.state().items()}
        facts = {
            "images_seen": self.images_seen,
            "loss_sum": self.loss_sum.item(),
            "loss_count": self.loss_count,
            "best": self.best,
            "config": asdict(self.config),
        }
        checkpoints.save(self.folder, Checkpoint(tensors, facts))

    def restore(self) -> bool:
        """Go back to the checkpoint in the folder; False if there is none. ValueError if it is not of this run."""
        found = checkpoints.load(self.folder)
        if found is None:
            return False
        facts: dict[str, Any] = found.facts
        if not {"config", "images_seen", "loss_sum", "loss_count"} <= facts.keys():
            raise ValueError(f"the checkpoint in {self.folder} does not say where the run was")
        if not self._begun_as(facts["config"]):
            raise ValueError(f"{self.folder} was begun with another configuration; continue it with the same one")
        shapes = {name: p.shape for name, p in trainable(self.model).items()}
        # Earlier versions kept also what is frozen.
        frozen_too = {name for name, _ in self.model.named_parameters()} - set(shapes)
        weights = found.group("model")
        for group in (weights, found.group("average")):
            if {name: value.shape for name, value in group.items() if name not in frozen_too} != shapes:
                raise ValueError(f"the checkpoint in {self.folder} is of another model")
        with torch.no_grad():
            for name, parameter in trainable(self.model).items():
                parameter.copy_(weights[name])
        self.average.load(found.group("average"))
        for part, optimiser in self.optimisers.items():
            optimiser.load(found.group(f"optimiser/{part}"))
        self.images_seen, self.loss_count = facts["images_seen"], facts["loss_count"]
        self.loss_sum.fill_(facts["loss_sum"])
        self.best = facts.get("best")
        return True

    def _begun_as(self, config: dict[str, Any]) -> bool:
        """Whether this is our configuration; settings that it does not name, being older than they, are the default."""
        try:
            return dataclass_from(TrainConfig, config) == self.config
        except ValueError:
            return False

    def mean_loss(self) -> float:
        """The mean loss since it was last set back; nan if there was no step since. Raises Diverged."""
        total = self.loss_sum.item()
        if not math.isfinite(total):
            raise Diverged(f"after {self.images_seen} pictures {NOT_FINITE}")
        return total / self.loss_count if self.loss_count else math.nan

    def step(self) -> None:
        """Train on the next batch; on this process's rows of it, and as all do, where several share it."""
        config, model = self.config, self.model
        batch = self.last_batch = self.next_batch(self.images_seen)
        rng = rng_at(config, self.images_seen, model.device)
        # The cast of each weight is made once a step, not once a use: caching is on, and emptied on leaving.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for name, loss in model.losses(batch, rng):
                loss.backward()  # type: ignore[no-untyped-call]
                parameters = list(model.parts()[name].parameters())
                loss = average_gradients(parameters, loss)
                norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
                self.optimisers[name].step(config.lr_factor(self.images_seen))
                # One part's loss leaves gradients in the others, and the cast weights are now out of date.
                model.zero_grad(set_to_none=True)
                torch.clear_autocast_cache()
                # A gradient that is no number makes the sum none, for `mean_loss` to find; one that is adds nothing.
                self.loss_sum += loss.double() + 0 * norm.double()
                self.loss_count += 1
        self.images_seen += config.batch_size
        self.average.update(model, self.images_seen, config.batch_size)


def train(
    run: Run[M],
    *,
    sample: Callable[[Run[M]], None] | None = None,
    measure: Callable[[Run[M]], Mapping[str, float]] | None = None,
    keep: Callable[[Run[M]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    tensorboard: bool = False,
) -> Iterator[Progress]:
    """Train from wherever the folder's checkpoint is to the end, yielding a Progress at every log line.

    sample: draws the sample grid; called at 0 pictures, every `sample_every` and at the end.
    measure: numbers for the log, at the same times, beside those of `validation`; called while the model has its
        averaged weights.
    keep: called when these numbers are the best so far, by what the configuration says.
    stop: asked after every step; when true the run is saved and the generator ends.
    A run that is killed anywhere and continued by calling this again ends in the very same bits. Of several processes
    that train together the first alone calls these functions (all ask `stop`, and one is enough) and writes.
    """
    continued = run.restore()
    barrier()  # restoring clears away what a killed run left: nobody may write before all have done so
    if run.config.compile:
        run.model.compile_loss()
    watch = None
    if is_first():
        watch = Monitor(run.folder, run.pictures, run.config, run.images_seen, tensorboard)
    try:
        yield from _Course(run, watch, sample, measure, keep).steps(continued, stop)
    except Diverged:
        if watch is not None:
            watch.warn(run.images_seen, Finding("not a number", NOT_FINITE))
        raise
    finally:
        if watch is not None:
            watch.close()
        run.release()


@dataclass
class _Course(Generic[M]):
    """One call of `train`. rate: pictures a second, smoothed.  since, seen_then: when it was last measured."""

    run: Run[M]
    watch: Monitor | None
    sample: Callable[[Run[M]], None] | None
    measure: Callable[[Run[M]], Mapping[str, float]] | None
    keep: Callable[[Run[M]], None] | None
    rate: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    seen_then: int = 0

    def steps(self, continued: bool, stop: Callable[[], bool]) -> Iterator[Progress]:
        run, config = self.run, self.run.config
        total = config.total_steps * config.batch_size
        if not continued:
            self.look()
        self.from_now()
        while run.images_seen < total:
            run.step()
            if self.crossed(config.log_every):
                yield self.log()
            done, halted = run.images_seen >= total, any_process(stop())
            # Samples go before the checkpoint: killed between the two, a run comes here again and draws what it lacks.
            if self.crossed(config.sample_every) or done:
                self.look()
                self.from_now()
            if (self.crossed(config.save_every) or done or halted) and self.watch is not None:
                run.save()
            if done or halted:
                yield self.progress("done" if done else "stopped")
                return

    def crossed(self, every: int) -> bool:
        """Whether the last step went over a multiple of this many pictures."""
        seen = self.run.images_seen
        return seen // every > (seen - self.run.config.batch_size) // every

    def from_now(self) -> None:
        """Count the rate from here: what was done since is no training."""
        self.since, self.seen_then = time.perf_counter(), self.run.images_seen

    def progress(self, event: str, warnings: tuple[str, ...] = ()) -> Progress:
        run, total = self.run, self.run.config.total_steps * self.run.config.batch_size
        if run.images_seen > self.seen_then:
            fresh = (run.images_seen - self.seen_then) / max(time.perf_counter() - self.since, 1e-9)
            self.rate = fresh if self.rate == 0 else 0.7 * self.rate + 0.3 * fresh
            self.from_now()
        left = (total - run.images_seen) / max(self.rate, 1e-9)
        return Progress(run.images_seen, total, run.mean_loss(), self.rate, left, event, warnings)

    def log(self) -> Progress:
        """Write a line of the log, and begin the next mean."""
        run = self.run
        progress = self.progress("log")
        if self.watch is not None:
            values = {"loss": progress.loss, "lr": run.config.lr_factor(run.images_seen)}
            values |= {"rate": round(progress.rate, 2), **train_metrics(run.model, run.last_batch)}
            found = self.watch.write(run.images_seen, values)
            progress = replace(progress, warnings=tuple(finding.sentence for finding in found))
        run.loss_sum.zero_()
        run.loss_count = 0
        return progress

    def look(self) -> None:
        """Measure, keep the best, draw samples: what the first process does while the others wait."""
        run, watch = self.run, self.watch
        if watch is None:
            return
        with run.average.lent(run.model):
            values = watch.measured(run.model, run.images_seen, lambda: self.measure(run) if self.measure else {})
        value = better(values, run.config.best, run.best)
        if value is not None:
            if self.keep is not None:
                self.keep(run)
            run.best = value
        if self.sample is not None:
            self.sample(run)
