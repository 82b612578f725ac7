"""A run: the state of training, its steps, and its checkpoints."""

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
    """The state of training.

    folder: for the checkpoint.
    model: is trained.
    pictures: of the run, with the held-out ones.
    config: the training configuration.
    source: of the batches.
    kind: of the model, as in the table of `train.kinds`.
    images_seen: the training clock.
    loss_sums, loss_counts: by part, since the last `clear_losses`.
    best: the metric of the weights that were kept as the best, or None.
    seconds: of the budget, used before this process began.
    last_batch: the batch of the last step, or None.
    ValueError where a part is configured that the model does not have.
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
        """Set everything to its initial state, except the weights of the model."""
        self.images_seen, self.best, self.last_batch, self.seconds = 0, None, None, 0.0
        self._parts: dict[str, TrainPart] = {name: self.config.part(name) for name in self.model.parts()}
        # On the device: reading a loss synchronises, and a GPU that is synchronised at every step idles.
        self.loss_sums = {name: torch.zeros((), dtype=torch.float64, device=self.model.device) for name in self._parts}
        self.loss_counts = dict.fromkeys(self._parts, 0)
        self.optimisers = {name: Optimiser(module, self._parts[name]) for name, module in self.model.parts().items()}
        self.average = Average(self.model, self.config)
        self.schedule = Schedule(self.config)

    # Checkpoints

    def save(self) -> None:
        """Write the checkpoint. Raises Diverged, and writes nothing, if the loss is not finite."""
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
        """The state of the model: parameters that are not frozen, and persistent buffers."""
        return dict(trainable(self.model)) | buffers(self.model)

    def restore(self) -> bool:
        """Load the checkpoint in the folder; False if there is none. ValueError if it is of another run."""
        found = checkpoints.load_checkpoint(self.folder)
        if found is None:
            return False
        facts = current_facts(found.facts, list(self._parts))
        if facts is None:
            raise ValueError(f"the checkpoint in {self.folder} is incomplete")
        if not self._same_config(facts["config"]):
            raise ValueError(f"{self.folder} was begun with another configuration; continue it with the same one")
        # Earlier versions saved frozen parameters too.
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
        """Whether the configurations are equal; fields that an older one does not have count as their default."""
        try:
            return dataclass_from(TrainConfig, current_config(config)) == self.config
        except ValueError:
            return False

    # Losses

    def mean_losses(self) -> dict[str, float]:
        """The mean loss of each part since the last `clear_losses`; NaN if there was no step. Raises Diverged."""
        means = {}
        for name, total in self.loss_sums.items():
            value = total.item()
            if not math.isfinite(value):
                raise Diverged(f"after {self.images_seen} pictures {NOT_FINITE}")
            means[name] = value / self.loss_counts[name] if self.loss_counts[name] else math.nan
        return means

    def clear_losses(self) -> None:
        """Set the sums and counts of the losses to zero."""
        for name, total in self.loss_sums.items():
            total.zero_()
            self.loss_counts[name] = 0

    # Training

    def step(self) -> None:
        """Train on the next batch; with several processes, on this process's rows of it."""
        config, model = self.config, self.model
        batch = self.last_batch = self.source.next_batch(self.images_seen)
        rng = rng_at(config, self.images_seen, model.device)
        factor, modules = self.schedule.lr_factor(self.images_seen), model.parts()
        # Autocast caches the cast weights within the block.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for name, loss in model.losses(batch, rng):
                loss.backward()  # type: ignore[no-untyped-call]
                parameters = list(modules[name].parameters())
                loss = average_gradients(parameters, loss)
                norm = torch.nn.utils.clip_grad_norm_(parameters, self._parts[name].clip)
                self.optimisers[name].step(factor)
                # A part's loss leaves gradients in other parts, and the cached weights are out of date now.
                model.zero_grad(set_to_none=True)
                torch.clear_autocast_cache()
                # If the gradient is not finite, the sum is not finite either, and `mean_losses` raises.
                self.loss_sums[name] += loss.double() + 0 * norm.double()
                self.loss_counts[name] += 1
        self.images_seen += config.batch_size
        self.average.update(model, self.images_seen, config.batch_size)

    # Averaged weights

    @contextmanager
    def evaluating(self) -> Iterator[M]:
        """The model with its averaged weights and in evaluation mode, within the block."""
        was = self.model.training
        with self.average.applied_to(self.model):
            self.model.train(False)
            try:
                yield self.model
            finally:
                self.model.train(was)

    def exported(self) -> tuple[nn.Module, dict[str, Tensor]]:
        """The model to export, and its weights and persistent buffers: averages where there are any."""
        model = self.model.exported()
        names = {id(p): name for name, p in self.model.named_parameters()}
        weights = {name: self.average.weights.get(names[id(p)], p.detach()) for name, p in model.named_parameters()}
        return model, {name: weights.get(name, value) for name, value in model.state_dict().items()}


def current_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a TrainConfig of any version, as this version has them."""
    # Before 0.2 the field `scenes` was in the configuration; run.json has a field `source` now.
    current = {name: value for name, value in values.items() if name != "scenes"}
    if current.get("best") == "most named":
        current["best"] = "most image-to-text R@1"
    return {"validation_by": "row"} | current


def current_facts(facts: Mapping[str, Any], parts: list[str]) -> dict[str, Any] | None:
    """The facts of a checkpoint of any version, as this version has them; None where some are missing.

    parts: of the model.
    """
    current = {"best": None, "seconds": 0.0} | dict(facts)
    if "loss_sum" in current and len(parts) == 1:  # before 0.2 there was one sum for all parts
        current["loss_sums"] = {parts[0]: current["loss_sum"]}
        current["loss_counts"] = {parts[0]: current.get("loss_count", 0)}
    known = {"config", "images_seen", "loss_sums", "loss_counts"} <= current.keys()
    return current if known and set(current["loss_sums"]) == set(parts) else None
