"""The training loop: one for every paradigm. A generator: whoever wants a progress bar or a cancel button iterates."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from unstir.data.pictures import Pictures
from unstir.models.generative import Trainable
from unstir.train import checkpoint as checkpoints
from unstir.train.batches import rng_at
from unstir.train.checkpoint import Checkpoint
from unstir.train.config import TrainConfig
from unstir.train.ema import Average
from unstir.train.log import Log
from unstir.train.optim import Optimiser

M = TypeVar("M", bound=Trainable)


class Diverged(Exception):
    """The loss or its gradient is no number any more."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. loss: mean since the last report.  rate: pictures a second.  seconds_left: at this rate."""

    images_seen: int
    images: int
    loss: float
    rate: float
    seconds_left: float
    event: str = "log"


@dataclass
class Run(Generic[M]):
    """A model on its way: everything that changes while training, and the folder where it is kept.

    next_batch: what to train on after so many pictures: a pure function of that number.
    """

    folder: Path
    model: M
    pictures: Pictures
    config: TrainConfig
    next_batch: Callable[[int], Any]
    images_seen: int = 0
    loss_sum: Tensor = field(init=False)
    loss_count: int = 0
    optimisers: dict[str, Optimiser] = field(init=False)
    average: Average = field(init=False)

    def __post_init__(self) -> None:
        # Kept on the device: to read a loss is to wait for it, and a GPU that is waited for at every step idles.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.model.device)
        self.optimisers = {name: Optimiser(part, self.config) for name, part in self.model.parts().items()}
        self.average = Average(self.model, self.config.ema)

    def save(self) -> None:
        """Write the checkpoint: after this a kill costs nothing. Diverged, and nothing written, if the run has."""
        self.mean_loss()
        tensors: dict[str, Tensor] = {f"model/{n}": p for n, p in self.model.named_parameters()}
        tensors |= {f"average/{n}": p for n, p in self.average.weights.items()}
        for part, optimiser in self.optimisers.items():
            tensors |= {f"optimiser/{part}/{n}": v for n, v in optimiser.state().items()}
        facts = {
            "images_seen": self.images_seen,
            "loss_sum": self.loss_sum.item(),
            "loss_count": self.loss_count,
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
        if facts["config"] != asdict(self.config):
            raise ValueError(f"{self.folder} was begun with another configuration; continue it with the same one")
        weights, shapes = found.group("model"), {name: p.shape for name, p in self.model.named_parameters()}
        for group in (weights, found.group("average")):
            if {name: value.shape for name, value in group.items()} != shapes:
                raise ValueError(f"the checkpoint in {self.folder} is of another model")
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])
        self.average.load(found.group("average"))
        for part, optimiser in self.optimisers.items():
            optimiser.load(found.group(f"optimiser/{part}"))
        self.images_seen, self.loss_count = facts["images_seen"], facts["loss_count"]
        self.loss_sum.fill_(facts["loss_sum"])
        return True

    def mean_loss(self) -> float:
        """The mean loss since it was last set back; nan if there was no step since. Raises Diverged."""
        total = self.loss_sum.item()
        if not math.isfinite(total):
            raise Diverged(
                f"after {self.images_seen} pictures the loss or its gradient is no number any more: "
                "lower the learning rate, or train in fp32"
            )
        return total / self.loss_count if self.loss_count else math.nan

    def step(self) -> None:
        """Train on the next batch."""
        config, model = self.config, self.model
        batch = self.next_batch(self.images_seen)
        rng = rng_at(config, self.images_seen, model.device)
        # The cast of each weight is made once a step, not once a use: caching is on, and emptied on leaving.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for name, loss in model.losses(batch, rng):
                loss.backward()  # type: ignore[no-untyped-call]
                norm = torch.nn.utils.clip_grad_norm_(model.parts()[name].parameters(), config.clip)
                self.optimisers[name].step(config.lr_factor(self.images_seen))
                # One part's loss leaves gradients in the others, and the cast weights are now out of date.
                model.zero_grad(set_to_none=True)
                torch.clear_autocast_cache()
                # A gradient that is no number makes the sum none, for `mean_loss` to find; one that is adds nothing.
                self.loss_sum += loss.detach().double() + 0 * norm.double()
                self.loss_count += 1
        self.images_seen += config.batch_size
        self.average.update(model, self.images_seen, config.batch_size)


def train(
    run: Run[M],
    *,
    sample: Callable[[Run[M]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    tensorboard: bool = False,
) -> Iterator[Progress]:
    """Train from wherever the folder's checkpoint is to the end, yielding a Progress at every log line.

    sample: draws the sample grid; called at 0 pictures, every `sample_every` and at the end.
    stop: asked after every step; when true the run is saved and the generator ends.
    A run that is killed anywhere and continued by calling this again ends in the very same bits.
    """
    config = run.config
    continued = run.restore()
    log = Log(run.folder, run.images_seen, tensorboard)
    if config.compile:
        run.model.compile_loss()
    try:
        if sample and not continued:
            sample(run)
        yield from _steps(run, log, sample, stop)
    finally:
        log.close()


def _steps(
    run: Run[M], log: Log, sample: Callable[[Run[M]], None] | None, stop: Callable[[], bool]
) -> Iterator[Progress]:
    config = run.config
    total = config.total_steps * config.batch_size
    since, seen_then = time.perf_counter(), run.images_seen
    rate = 0.0

    def crossed(every: int) -> bool:
        return run.images_seen // every > (run.images_seen - config.batch_size) // every

    def report(event: str) -> Progress:
        nonlocal since, seen_then, rate
        now = time.perf_counter()
        fresh = (run.images_seen - seen_then) / max(now - since, 1e-9)
        rate = fresh if rate == 0 else 0.7 * rate + 0.3 * fresh
        since, seen_then = now, run.images_seen
        return Progress(
            run.images_seen, total, run.mean_loss(), rate, (total - run.images_seen) / max(rate, 1e-9), event
        )

    while run.images_seen < total:
        run.step()
        if crossed(config.log_every):
            progress = report("log")
            values = {"loss": progress.loss, "lr": config.lr_factor(run.images_seen), "rate": round(progress.rate, 2)}
            log.write(run.images_seen, values)
            run.loss_sum.zero_()
            run.loss_count = 0
            yield progress
        done, halted = run.images_seen >= total, stop()
        # Samples go before the checkpoint: killed between the two, a run comes here again and draws what is missing.
        if sample and (crossed(config.sample_every) or done):
            sample(run)
            since, seen_then = time.perf_counter(), run.images_seen
        if crossed(config.save_every) or done or halted:
            run.save()
        if done or halted:
            yield report("done" if done else "stopped")
            return
