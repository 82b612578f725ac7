"""What the training loop and the samplers ask of a paradigm, whichever it is."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unstir.diffusion.sampler import Step


class GenerativeModel(Protocol):
    """Anything with these members can be trained by the one loop, and sampled step by step."""

    def parts(self) -> dict[str, nn.Module]:
        """Which module each named loss trains: one for diffusion, two for a GAN."""
        ...

    def losses(self, batch: Any, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """(part, loss) pairs; the loop goes back through each and steps that part before it asks for the next."""
        ...

    def sample(self, shape: Sequence[int], cond: Any, seeds: Sequence[int]) -> Iterator[Step]:
        """Pictures of this shape, one for each seed, yielding every step; the last step's x0 are the pictures."""
        ...
