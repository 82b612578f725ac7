"""A recipe: everything about a run but the pictures' whereabouts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unstir.data.entry import Entry
from unstir.models.diffusion import Sampling
from unstir.nn.dit import DiTConfig
from unstir.nn.unet import UNetConfig
from unstir.nn.vision import VisionConfig
from unstir.train.config import TrainConfig

Meta = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class AnyRecipe:
    """What every recipe says, whatever it trains.

    vocabulary: tokens to learn from the captions.  length: tokens of context, more where a caption needs more.
    What of the source is used, in this order: wanted says which pictures, by their metadata; annotate adds to it;
    keep gives the rows to train on, of all those that are left, and so holds the others out; captioner says what may
    be said of each picture.  notes: into the model's file.
    """

    train: TrainConfig
    vocabulary: int = 2048
    length: int = 32
    wanted: Callable[[Meta], bool] | None = None
    annotate: Callable[[Meta], dict[str, object]] | None = None
    keep: Callable[[Sequence[Meta]], npt.NDArray[np.int64]] | None = None
    captioner: Callable[[Entry], tuple[str, ...]] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe(AnyRecipe):
    """A model that draws.

    network: of the picture size and channels that it says.  text_width, text_depth: of the text encoder.
    prompts: of the sample grid.  sampling: the dials that the finished model has by default.
    """

    network: DiTConfig | UNetConfig
    prompts: tuple[str, ...]
    sampling: Sampling = field(default_factory=Sampling)
    text_width: int = 256
    text_depth: int = 2
    sigma_data: float = 0.5
    t_mean: float = 0.4
    t_std: float = 1.0

    @property
    def side(self) -> int:
        return self.network.size

    @property
    def channels(self) -> int:
        return self.network.channels


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(AnyRecipe):
    """A model that compares pictures and words.

    vision: of the picture size and channels that it says.  text_width, text_depth: of the text encoder.
    width: of the space they share.  loss, augment: as in `ClipConfig`.
    """

    vision: VisionConfig
    width: int = 128
    text_width: int = 128
    text_depth: int = 2
    loss: str = "softmax"
    augment: bool = False

    @property
    def side(self) -> int:
        return self.vision.size

    @property
    def channels(self) -> int:
        return self.vision.channels
