"""A run: a model on its way, and the folder where it is kept."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from unstir.data.pictures import Pictures
from unstir.models.description import dataclass_from
from unstir.models.generative import Trainable
from unstir.train import checkpoint as checkpoints
from unstir.train.batches import BatchSource, rng_at
from unstir.train.checkpoint import Checkpoint
from unstir.train.config import TrainConfig, TrainPart
from unstir.train.diagnose import NOT_FINITE
from unstir.train.distributed import average_gradients
from unstir.train.ema import Average, buffers, trainable
from unstir.train.optim import Optimiser
from unstir.train.schedule import Schedule

M = TypeVar("M", bound=Trainable)


class Diverged(Exception):
    """The loss or its gradient is NaN or infinite."""


@dataclass
class Run(Generic[M]):
    """Everything that changes while training, and the folder where it is kept.

    source: what to train on.
    kind: of the model, as in the table of `train.kinds`.
    images_seen: the training clock.
    best: by the measure that the configuration names, of the weights that were kept as the best.
    seconds: of the budget that were used before this process began.
    """

    folder: Path
    model: M
    pictures: Pictures
    config: TrainConfig
    source: BatchSource
    kind: str
    images_seen: int = field(init=False, default=0)
    loss_sums: dict[str, Tensor] = field(init=False)
    loss_counts: dict[str, int] = field(init=False)
    optimisers: dict[str, Optimiser] = field(init=False)
    average: Average = field(init=False)
    schedule: Schedule = field(init=False)
    best: float | None = field(init=False, default=None)
    seconds: float = field(init=False, default=0.0)
    last_batch: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.config.check_parts(list(self.model.parts()))
        self.reset()

    def reset(self) -> None:
        """To the beginning, with the weights that the model has now."""
        self.images_seen, self.best, self.last_batch, self.seconds = 0, None, None, 0.0
        self._parts: dict[str, TrainPart] = {name: self.config.part(name) for name in self.model.parts()}
        # Kept on the device: to read a loss is to wait for it, and a GPU that is waited for at every step idles.
        self.loss_sums = {name: torch.zeros((), dtype=torch.float64, device=self.model.device) for name in self._parts}
        self.loss_counts = dict.fromkeys(self._parts, 0)
        self.optimisers = {name: Optimiser(module, self._parts[name]) for name, module in self.model.parts().items()}
        self.average = Average(self.model, self.config)
        self.schedule = Schedule(self.config)

    # Keeping

    def save(self) -> None:
        """Write the checkpoint: after this a kill costs nothing. Diverged, and nothing written, if the run has."""
        self.mean_losses()
        tensors = {f"model/{n}": p for n, p in self._state().items()}
        tensors |= {f"average/{n}": p for n, p in self.average.weights.items()}
        for part, optimiser in self.optimisers.items():
            tensors |= {f"optimiser/{part}/{n}": v for n, v in optimiser.state().items()}
        facts = {
            "images_seen": self.images_seen,
            "loss_sums": {name: value.item() for name, value in self.loss_sums.items()},
            "loss_counts": self.loss_counts,
            "best": self.best,
            "seconds": self.seconds,
            "config": asdict(self.config),
        }
        checkpoints.save_checkpoint(self.folder, Checkpoint(tensors, facts))

    def _state(self) -> dict[str, Tensor]:
        """What training changes in the model: parameters that are not frozen, and persistent buffers."""
        return dict(trainable(self.model)) | buffers(self.model)

    def restore(self) -> bool:
        """Go back to the checkpoint in the folder; False if there is none. ValueError if it is not of this run."""
        found = checkpoints.load_checkpoint(self.folder)
        if found is None:
            return False
        facts = current_facts(found.facts, list(self._parts))
        if facts is None:
            raise ValueError(f"the checkpoint in {self.folder} does not say where the run was")
        if not self._same_config(facts["config"]):
            raise ValueError(f"{self.folder} was begun with another configuration; continue it with the same one")
        # Earlier versions kept also what is frozen.
        frozen = {name for name, p in self.model.named_parameters() if not p.requires_grad}
        state, weights, average = self._state(), found.group("model"), found.group("average")
        for group, wanted in ((weights, state), (average, self.average.weights)):
            shapes = {name: value.shape for name, value in wanted.items()}
            if {name: value.shape for name, value in group.items() if name not in frozen} != shapes:
                raise ValueError(f"the checkpoint in {self.folder} is of another model")
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(weights[name])
        self.average.load(average)
        for part, optimiser in self.optimisers.items():
            optimiser.load(found.group(f"optimiser/{part}"))
        self.images_seen, self.best, self.seconds = facts["images_seen"], facts["best"], facts["seconds"]
        self.loss_counts = dict(facts["loss_counts"])
        for name, total in self.loss_sums.items():
            total.fill_(facts["loss_sums"][name])
        self.schedule = Schedule.load(self.folder, self.config)
        return True

    def _same_config(self, config: dict[str, Any]) -> bool:
        """Whether this is our configuration; settings that it does not name, being older than they, are the default."""
        try:
            return dataclass_from(TrainConfig, current_config(config)) == self.config
        except ValueError:
            return False

    # Losses

    def mean_losses(self) -> dict[str, float]:
        """The mean loss of each part since it was last set back; NaN if there was no step since. Raises Diverged."""
        means = {}
        for name, total in self.loss_sums.items():
            value = total.item()
            if not math.isfinite(value):
                raise Diverged(f"after {self.images_seen} pictures {NOT_FINITE}")
            means[name] = value / self.loss_counts[name] if self.loss_counts[name] else math.nan
        return means

    def clear_losses(self) -> None:
        """Begin the next mean."""
        for name, total in self.loss_sums.items():
            total.zero_()
            self.loss_counts[name] = 0

    # Going on

    def step(self) -> None:
        """Train on the next batch; on this process's rows of it, and as all do, where several share it."""
        config, model = self.config, self.model
        batch = self.last_batch = self.source.next_batch(self.images_seen)
        rng = rng_at(config, self.images_seen, model.device)
        factor, modules = self.schedule.lr_factor(self.images_seen), model.parts()
        # The cast of each weight is made once a step, not once a use: caching is on, and emptied on leaving.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for name, loss in model.losses(batch, rng):
                loss.backward()  # type: ignore[no-untyped-call]
                parameters = list(modules[name].parameters())
                loss = average_gradients(parameters, loss)
                norm = torch.nn.utils.clip_grad_norm_(parameters, self._parts[name].clip)
                self.optimisers[name].step(factor)
                # One part's loss leaves gradients in the others, and the cast weights are now out of date.
                model.zero_grad(set_to_none=True)
                torch.clear_autocast_cache()
                # A gradient that is not finite makes the sum not finite, for `mean_losses` to find.
                self.loss_sums[name] += loss.double() + 0 * norm.double()
                self.loss_counts[name] += 1
        self.images_seen += config.batch_size
        self.average.update(model, self.images_seen, config.batch_size)

    # Looking at the model

    @contextmanager
    def evaluating(self) -> Iterator[M]:
        """The model with its averaged weights and in evaluation mode, for the length of the block."""
        was = self.model.training
        with self.average.applied_to(self.model):
            self.model.train(False)
            try:
                yield self.model
            finally:
                self.model.train(was)

    def exported(self) -> tuple[nn.Module, dict[str, Tensor]]:
        """The model of the model file, and its weights and persistent buffers: averages where there are any."""
        model = self.model.exported()
        names = {id(p): name for name, p in self.model.named_parameters()}
        weights = {name: self.average.weights.get(names[id(p)], p.detach()) for name, p in model.named_parameters()}
        return model, {name: weights.get(name, value) for name, value in model.state_dict().items()}


def current_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a TrainConfig as this version has them, from those of any version."""
    # Before 0.2 the configuration said whether batches were scenes; a run's file has a source of batches now.
    current = {name: value for name, value in values.items() if name != "scenes"}
    if current.get("best") == "most named":
        current["best"] = "most image-to-text R@1"
    return {"validation_by": "row"} | current


def current_facts(facts: Mapping[str, Any], parts: list[str]) -> dict[str, Any] | None:
    """The facts of a checkpoint as this version has them, from those of any version; None where some are missing."""
    current = {"best": None, "seconds": 0.0} | dict(facts)
    if "loss_sum" in current and len(parts) == 1:  # before 0.2 there was one sum for all parts
        current["loss_sums"] = {parts[0]: current["loss_sum"]}
        current["loss_counts"] = {parts[0]: current.get("loss_count", 0)}
    known = {"config", "images_seen", "loss_sums", "loss_counts"} <= current.keys()
    return current if known and set(current["loss_sums"]) == set(parts) else None
