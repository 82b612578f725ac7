"""The training configuration. It is frozen: a run that resumes has the configuration that it began with."""

import math
from dataclasses import dataclass, replace

OPTIMISERS = ("muon", "adamw")


@dataclass(frozen=True)
class PartConfig:
    """How one part of a model is trained (`Trainable.parts`); None: as `TrainConfig` says for all parts.

    name: of the part.
    optimiser, muon_lr, adamw_lr, betas, weight_decay, clip: as in `TrainConfig`.
    ema: as in `TrainConfig`; 0 keeps no average, and the weights themselves are exported.
    """

    name: str
    optimiser: str | None = None
    muon_lr: float | None = None
    adamw_lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    clip: float | None = None
    ema: float | None = None


@dataclass(frozen=True)
class TrainPart:
    """A `PartConfig` with everything filled in."""

    name: str
    optimiser: str
    muon_lr: float
    adamw_lr: float
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    ema: float


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The training clock counts pictures.

    images: pictures to see in all; with a budget an estimate, see `budget`.
    batch_size: of all processes together, where several train one model.
    optimiser: "muon" (Muon for the matrices inside blocks, AdamW for the rest) or "adamw" (AdamW for all).
    muon_lr, adamw_lr: peak learning rates.
    betas: of AdamW.
    warmup: pictures of linear rise of the learning rate.
    cooldown: fraction of the run, at its end, in which the learning rate falls to zero.
    ema: width of the averaging window, relative to the pictures seen so far (Karras et al. 2024, section 3.1).
    caption_dropout: fraction of pictures trained with the empty prompt, for classifier-free guidance.
    clip: largest norm of the gradient of a part.
    precision: "bf16" (autocast, weights stay float32) or "fp32".
    compile: compile the loss with torch.
    seed: of the weights, the order of the pictures, and the noise.
    log_every, sample_every, save_every: in pictures; evaluations (`sample_every`) also at 0.
    validation: number of pictures held back for validation.
    validation_by: "content": rows of the same pixels are held back together or not at all; "row": as in versions before
        0.2.
    best: which averaged weights to keep besides the last: "least METRIC" or "most METRIC"; "": none.
    parts: settings that differ for single parts of the model.
    budget: seconds for the whole command, or None. With a budget the clock decides when the cool-down begins and how
        long it is (`train.schedule`), and `images` only spaces samples, checkpoints and log lines.
    ValueError for values out of range.
    """

    images: int
    batch_size: int = 64
    optimiser: str = "muon"
    muon_lr: float = 0.02
    adamw_lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: int = 2_000
    cooldown: float = 0.3
    ema: float = 0.05
    caption_dropout: float = 0.1
    clip: float = 1.0
    precision: str = "bf16"
    compile: bool = False
    seed: int = 0
    log_every: int = 1_024
    sample_every: int = 50_000
    save_every: int = 10_000
    validation: int = 0
    validation_by: str = "content"
    best: str = ""
    parts: tuple[PartConfig, ...] = ()
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.batch_size < 1:
            raise ValueError(f"images and batch_size must be 1 or more, got {self.images} and {self.batch_size}")
        for optimiser in (self.optimiser, *(part.optimiser for part in self.parts)):
            if optimiser is not None and optimiser not in OPTIMISERS:
                raise ValueError(f"there is no optimiser {optimiser!r}; there are: {', '.join(OPTIMISERS)}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"there is no precision {self.precision!r}; there are: bf16, fp32")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"cooldown is a fraction of the run and must be 0 to 1, got {self.cooldown}")
        if self.validation < 0:
            raise ValueError(f"validation must be 0 pictures or more, got {self.validation}")
        if self.validation_by not in ("content", "row"):
            raise ValueError(f"validation_by must be content or row, got {self.validation_by!r}")
        if self.best and not self.best.startswith(("least ", "most ")):
            raise ValueError(f'best must be "least METRIC" or "most METRIC", got {self.best!r}')
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise ValueError(f"a budget is a number of seconds above 0, got {self.budget}")
        if len({part.name for part in self.parts}) < len(self.parts):
            raise ValueError("a part of the model is configured twice")

    @property
    def total_steps(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def part(self, name: str) -> TrainPart:
        """How the part of this name is trained."""
        own = next((part for part in self.parts if part.name == name), PartConfig(name))

        def chosen(field: str) -> object:
            value = getattr(own, field)
            return getattr(self, field) if value is None else value

        fields = ("optimiser", "muon_lr", "adamw_lr", "betas", "weight_decay", "clip", "ema")
        return TrainPart(name, **{field: chosen(field) for field in fields})  # type: ignore[arg-type]

    def check_parts(self, names: list[str]) -> None:
        """Raise ValueError if a part is configured that the model does not have.

        names: the parts of the model.
        """
        unknown = [part.name for part in self.parts if part.name not in names]
        if unknown:
            raise ValueError(f"the model has no part {', '.join(unknown)}; it has: {', '.join(names)}")

    def rise(self, images_seen: int) -> float:
        """The learning rate during warm-up as a fraction of its peak, in (0, 1]."""
        return min(1.0, (images_seen + self.batch_size) / max(self.warmup, 1))

    def lr_factor(self, images_seen: int) -> float:
        """The learning rate as a fraction of its peak: a linear rise, constant, then a linear fall to zero.

        Source: Zhai et al. 2022 (warm-up, stable, cool-down); Hägele et al. 2024.
        """
        start = self.images * (1 - self.cooldown)
        fall = (self.images - images_seen) / max(self.images - start, 1) if images_seen > start else 1.0
        return self.rise(images_seen) * max(fall, 0.0)


def with_seed(config: TrainConfig, seed: int) -> TrainConfig:
    """The same configuration with another seed."""
    return replace(config, seed=seed)
