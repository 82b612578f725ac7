"""The interface of models for training, evaluation, the command line and a server, the same for every kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unstir.settings import Settings

Pixels = NDArray[np.uint8]
"""(B, H, W, C) uint8, C = 3 or 4, straight alpha."""


class Frame:
    """One step of drawing: a denoising step, a row of pixels, a code, depending on the kind of model.

    i: 0 … total-1.
    total: number of frames.
    picture: (B, H, W, C) uint8, the pictures predicted so far; in the last frame they are finished.
    state: (B, H, W, C) uint8, what the model works on (for diffusion the noisy pictures), or None.
    t: time of a denoising step, 1 noise to 0 picture, or None.
    picture and state may be given as functions; they are called at the first access.
    """

    def __init__(
        self,
        i: int,
        total: int,
        picture: Pixels | Callable[[], Pixels],
        state: Pixels | Callable[[], Pixels] | None = None,
        t: float | None = None,
    ) -> None:
        self.i, self.total, self.t = i, total, t
        self._picture, self._state = picture, state

    @cached_property
    def picture(self) -> Pixels:
        return self._picture() if callable(self._picture) else self._picture

    @cached_property
    def state(self) -> Pixels | None:
        return self._state() if callable(self._state) else self._state


class NotFinite(ValueError):
    """A model gives NaN or infinity where a picture should be."""


class Trainable(Protocol):
    """The interface for training. A torch module has most of these members."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def train(self, mode: bool = True) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def compile_loss(self) -> None:
        """Compile the loss with torch: faster steps, after about a minute of compilation."""
        ...

    def parts(self) -> Mapping[str, nn.Module]:
        """Which module each named loss trains: one for diffusion, two for a GAN.

        Each part has its own optimiser, learning rate, clipping and averaging (`train.config.PartConfig`).
        """
        ...

    def losses(self, batch: Any, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """(part, loss) pairs. The loop updates the part of each before it asks for the next."""
        ...

    def exported(self) -> nn.Module:
        """The model of the model file: itself, or without its critic or teacher."""
        ...


@runtime_checkable
class GenerativeModel(Protocol):
    """A model that draws."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        ...

    @property
    def device(self) -> torch.device: ...

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise ValueError where a prompt cannot be read, before anything is drawn."""
        ...

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], settings: Settings | None = None, *, exact: bool = True
    ) -> Iterator[Frame]:
        """Draw pictures frame by frame; the last frame has the finished ones.

        prompts, seeds: of the same length B >= 1.
        settings: of the model's kind; None: the defaults.
        exact: True: the bits of picture i depend on prompts[i], seeds[i] and the settings only. False: all are computed
            together, several times faster; their last bits then depend on the batch.
        Raises ValueError, before the first frame, for settings that do not fit together; NotFinite for NaN or infinity.
        """
        ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A model that says how many bits it needs for pictures: exactly, or at most."""

    def picture_bits(self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int]) -> Iterator[float]:
        """Bits per dimension of each picture given its caption, one after the other.

        pixels: (N, H, W, C) uint8, straight alpha; the numbers of a transparent picture are its premultiplied ones,
            rounded to 256 levels.
        seeds: N, for what is random about a bound.
        The weights should be float32.
        """
        ...


@runtime_checkable
class OdeLikelihoodModel(Protocol):
    """A model that computes the likelihood of pictures by an ordinary differential equation."""

    def ode_bits(self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int]) -> Iterator[float]:
        """Bits per dimension of each picture given its caption, an upper bound on average; see `LikelihoodModel`.

        It is computed by an adaptive solver, in hundreds of passes through the network and back.
        """
        ...


def final(frames: Iterator[Frame]) -> Pixels:
    """The finished pictures of a `draw`. (B, H, W, C) uint8."""
    *_, last = frames
    return last.picture
