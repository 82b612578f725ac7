"""A recipe: everything about a run but where the pictures lie."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unstir.data.entry import Entry
from unstir.models.paradigms import paradigm_of_config
from unstir.scenes.source import SceneSource
from unstir.settings import Settings
from unstir.train.config import TrainConfig

Meta = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model of any kind is trained.

    model: the whole configuration of the model. Of its text encoder, `vocabulary` is the largest number of tokens to
        learn from the captions, and `length` the least number of tokens to read; both are fitted to the captions.
    train: how.
    prompts: of the sample grid; (): some of the captions.
    settings: what the finished model draws with by default; None: the defaults of its kind.
    source: where batches come from; None: the pictures as they are.
    wanted, annotate, keep, captioner: what of the data is used, in this order. `wanted` says which pictures, by their
        metadata; `annotate` adds to it; `keep` gives the rows to train on, of all those that are left, and so holds
        the others out; `captioner` gives the captions of each picture.
    notes: into the model's file.
    """

    model: Any
    train: TrainConfig
    prompts: tuple[str, ...] = ()
    settings: Settings | None = None
    source: SceneSource | None = None
    wanted: Callable[[Meta], bool] | None = None
    annotate: Callable[[Meta], dict[str, object]] | None = None
    keep: Callable[[Sequence[Meta]], npt.NDArray[np.int64]] | None = None
    captioner: Callable[[Entry], tuple[str, ...]] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = paradigm_of_config(self.model)  # ValueError where there is none
        if self.settings is not None and type(self.settings) is not kind.settings:
            raise ValueError(f"{kind.title} has no {type(self.settings).__name__}")

    @property
    def kind(self) -> str:
        """The kind of model."""
        return paradigm_of_config(self.model).name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        shape: tuple[int, int, int] = self.model.shape
        return shape

    def with_train(self, **changes: Any) -> "Recipe":
        """The same recipe, trained otherwise. changes: fields of TrainConfig."""
        return replace(self, train=replace(self.train, **changes))
