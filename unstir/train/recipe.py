"""A recipe: everything about a run but the pictures' whereabouts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unstir.data.entry import Entry
from unstir.models.diffusion import Sampling
from unstir.nn.dit import DiTConfig
from unstir.nn.unet import UNetConfig
from unstir.train.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """network: of the picture size and channels that it says.  vocabulary, length, text_*: the text encoder.

    wanted: which pictures of the source are used; captioner: what may be said of each.
    prompts: of the sample grid.  sampling: the dials that the finished model has by default.  notes: into its file.
    """

    network: DiTConfig | UNetConfig
    train: TrainConfig
    prompts: tuple[str, ...]
    sampling: Sampling = field(default_factory=Sampling)
    vocabulary: int = 2048
    length: int = 32
    text_width: int = 256
    text_depth: int = 2
    sigma_data: float = 0.5
    t_mean: float = 0.4
    t_std: float = 1.0
    wanted: Callable[[Mapping[str, object]], bool] | None = None
    captioner: Callable[[Entry], tuple[str, ...]] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
