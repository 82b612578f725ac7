"""A recipe: everything about a run except its pictures."""

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
    """How a model of any kind is trained. `wanted`, `annotate`, `keep` and `captioner` are applied in this order.

    model: the configuration of the model. Of its text encoder, `vocabulary` is the largest number of tokens to learn
        from the captions, and `length` the smallest context; both are fitted to the captions.
    train: the training configuration.
    prompts: of the sample grid; (): some of the captions.
    settings: the defaults of the finished model; None: those of its kind.
    source: where batches come from; None: the pictures as they are.
    wanted: (metadata) -> whether to use a picture.
    annotate: (metadata) -> the metadata with further fields.
    keep: (metadata of all pictures) -> the rows to train on; the others are held out.
    captioner: (entry) -> the captions of a picture.
    notes: for the model file.
    options: of the kind of training (`train.kinds`), such as the weights of a loss.
    stages: recipes of the models that this one is built on, by the name of the stage, in the order of training.
    fractions: the fraction of a budget that each stage gets; the run itself gets the rest.
    ValueError for a configuration of no known kind, settings of another kind, or fractions that leave nothing.
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
    options: Mapping[str, Any] = field(default_factory=dict)
    stages: "Mapping[str, Recipe]" = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = paradigm_of_config(self.model)  # ValueError where there is none
        if self.settings is not None and type(self.settings) is not kind.settings:
            raise ValueError(f"{kind.title} has no {type(self.settings).__name__}")
        if set(self.fractions) - set(self.stages) or sum(self.fractions.values()) >= 1:
            raise ValueError(
                f"the fractions {dict(self.fractions)} are not those of the stages, or leave nothing for the run"
            )

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
        """The recipe with another training configuration.

        changes: fields of TrainConfig.
        """
        return replace(self, train=replace(self.train, **changes))
