"""What the training loop and the samplers ask of a paradigm, whichever it is."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unstir.diffusion.sampler import Step


class Trainable(Protocol):
    """Anything with these members can be trained by the one loop. A module of torch brings most of them."""

    @property
    def device(self) -> torch.device: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def train(self, mode: bool = True) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def compile_loss(self) -> None:
        """Let torch compile the loss: faster steps after a minute or so of waiting."""
        ...

    def parts(self) -> dict[str, nn.Module]:
        """Which module each named loss trains: one for diffusion, two for a GAN."""
        ...

    def losses(self, batch: Any, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """(part, loss) pairs; the loop goes back through each and steps that part before it asks for the next."""
        ...


class GenerativeModel(Trainable, Protocol):
    """What can also be sampled, step by step."""

    def sample(self, shape: Sequence[int], cond: Any, seeds: Sequence[int]) -> Iterator[Step]:
        """Pictures of this shape, one for each seed, yielding every step; the last step's x0 are the pictures."""
        ...
