"""What a training run is made of. Frozen: a run that continues is the run that was begun."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from unstir.scenes.planner import SceneMix


@dataclass(frozen=True)
class TrainConfig:
    """images: pictures to see in all; the training clock counts them.

    muon_lr, adamw_lr: peak learning rates for the matrices inside blocks, and for everything else; `optimiser` is
        "muon" (Muon for the matrices, AdamW for the rest) or "adamw" (AdamW for all, at adamw_lr).
    warmup: pictures of linear rise.  cooldown: share of the run at its end in which the rate falls to zero.
    ema: width of the averaging window, relative to the pictures seen so far (Karras et al. 2024, section 3.1).
    caption_dropout: share of pictures trained without words, for classifier-free guidance.
    clip: largest norm of the gradient.  precision: "bf16" (autocast, weights stay float32) or "fp32".
    batch_size: of all processes together, where several train one model.
    sample_every, save_every, log_every: in pictures; samples are drawn, and measures taken, at 0 too.
    validation: pictures that are held back to measure by.
    best: which averaged weights are kept beside the last: "least NAME" or "most NAME", of what is measured; "": none.
    scenes: train on scenes put together from the drawings (see `data.scenes`) rather than on the drawings alone; True,
        or in which shares.
    """

    images: int
    batch_size: int = 64
    optimiser: str = "muon"
    muon_lr: float = 0.02
    adamw_lr: float = 1e-3
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
    best: str = ""
    scenes: bool | SceneMix = False

    def __post_init__(self) -> None:
        if isinstance(self.scenes, Mapping):  # as it comes out of a file
            try:
                object.__setattr__(self, "scenes", SceneMix(**self.scenes))
            except TypeError as error:
                raise ValueError(f"scenes cannot be mixed so: {error}") from None
        if self.images < 1 or self.batch_size < 1:
            raise ValueError(f"a run needs pictures: images={self.images}, batch_size={self.batch_size}")
        if self.optimiser not in ("muon", "adamw"):
            raise ValueError(f"there is no optimiser {self.optimiser!r}; there are: muon, adamw")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"there is no precision {self.precision!r}; there are: bf16, fp32")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"cooldown is a share of the run, 0 … 1, got {self.cooldown}")
        if self.validation < 0:
            raise ValueError(f"no fewer than 0 pictures can be held back, got {self.validation}")
        if self.best and not self.best.startswith(("least ", "most ")):
            raise ValueError(f'the best is the "least NAME" or the "most NAME" of what is measured, got {self.best!r}')

    @property
    def mix(self) -> SceneMix:
        """In which shares scenes are made, where they are."""
        return self.scenes if isinstance(self.scenes, SceneMix) else SceneMix()

    @property
    def total_steps(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def lr_factor(self, images_seen: int) -> float:
        """Learning rate at this time as a share of its peak: linear rise, flat, then linear fall to zero.

        Source: Zhai et al. 2022 (warm-up, stable, cool-down); Hägele et al. 2024.
        """
        rise = min(1.0, (images_seen + self.batch_size) / max(self.warmup, 1))
        start = self.images * (1 - self.cooldown)
        fall = (self.images - images_seen) / max(self.images - start, 1) if images_seen > start else 1.0
        return rise * max(fall, 0.0)
