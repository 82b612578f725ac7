"""What some models can do beside drawing prompts: paths, variations, directions of words."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from unstir.diffusion.noise import Seed
from unstir.models.generative import Frame
from unstir.settings import Settings


@runtime_checkable
class BetweenPrompts(Protocol):
    """A model whose conditioning can lie between two prompts."""

    def conditioning(self, prompt: str, seed: int, settings: Any) -> Any:
        """What the model draws a prompt from. seed: for models that draw the conditioning itself."""
        ...

    def blend(self, a: Any, b: Any, fraction: float) -> Any:
        """A conditioning between two others. fraction: 0 gives a, 1 gives b."""
        ...

    def draw_conditioned(self, cond: Any, seeds: Sequence[Seed], settings: Any) -> Iterator[Frame]:
        """Draw pictures of a conditioning; otherwise as `GenerativeModel.draw`. seeds: one."""
        ...


@runtime_checkable
class BetweenPictures(Protocol):
    """A model that gives a picture a place in a space, and draws the picture of a place."""

    def invert(self, pixels: Tensor, settings: Any) -> Any:
        """The place of a picture. pixels: (1, H, W, C) uint8 of the model's shape."""
        ...

    def blend_points(self, a: Any, b: Any, fraction: float) -> Any:
        """A place between two others. fraction: 0 gives a, 1 gives b."""
        ...

    def draw_point(self, point: Any, settings: Any) -> Iterator[Frame]:
        """Draw the picture of a place."""
        ...


@runtime_checkable
class Varies(Protocol):
    """A model that draws variations of a picture."""

    def vary(
        self,
        pixels: Tensor,
        seeds: Sequence[int],
        settings: Settings | None = None,
        *,
        strength: float,
        prompt: str = "",
    ) -> Iterator[Frame]:
        """Draw variations of one picture.

        pixels: (1, H, W, C) uint8 of the model's shape.
        seeds: one for each variation.
        strength: 0 to 1, how far they may be from the picture.
        prompt: what they are to show; "": what the picture shows.
        """
        ...


@runtime_checkable
class Edits(Protocol):
    """A model that changes a picture along a direction of words."""

    def edit(
        self,
        pixels: Tensor,
        without: str,
        with_: str,
        seeds: Sequence[int],
        settings: Settings | None = None,
        *,
        strength: float,
    ) -> Iterator[Frame]:
        """Draw a picture changed by the difference of two prompts, such as "a man" and "a man with a hat".

        pixels: (1, H, W, C) uint8 of the model's shape.
        strength: 0 to 1, how far to go.
        """
        ...
