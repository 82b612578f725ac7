"""What training, evaluation, the command line and a server ask of a model, whichever kind it is."""

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
    """One moment of drawing: a denoising step, a row of pixels, a code, whatever the kind of model goes by.

    i: 0 … total-1.
    total: how many frames there are.
    picture: (B, H, W, C) uint8, the pictures as far as they are known; in the last frame they are finished.
    state: (B, H, W, C) uint8, what the model works on at this moment (for diffusion the noisy picture), or None.
    t: time of a denoising step, 1 noise to 0 picture, or None.

    picture and state may be given as functions, which are called when they are first asked for: whoever wants the last
    frame alone pays for no other.
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
    """Anything with these members can be trained by the one loop. A module of torch brings most of them."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def train(self, mode: bool = True) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def compile_loss(self) -> None:
        """Let torch compile the loss: faster steps after a minute or so of waiting."""
        ...

    def parts(self) -> Mapping[str, nn.Module]:
        """Which module each named loss trains: one for diffusion, two for a GAN.

        Each part has its own optimiser, learning rate, clipping and averaging (`train.config.PartConfig`).
        """
        ...

    def losses(self, batch: Any, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """(part, loss) pairs; the loop goes back through each and steps that part before it asks for the next."""
        ...

    def exported(self) -> nn.Module:
        """The model whose weights make the model file: itself, or what is left without a critic or a teacher."""
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
        """Pictures of these prompts, frame by frame; the last frame has the finished ones.

        prompts, seeds: of one length, B >= 1.
        settings: of the kind that the model has; None: its defaults.
        exact: True: picture i depends on prompts[i], seeds[i] and the settings, and on nothing else, to the bit.
            False: all are computed together, several times faster; their last bits then depend on the batch.
        Raises ValueError at once for settings that do not fit together, NotFinite where there is no picture.
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


def final(frames: Iterator[Frame]) -> Pixels:
    """The finished pictures of a `draw`. (B, H, W, C) uint8."""
    *_, last = frames
    return last.picture
