"""Quantisation: vectors become one of finitely many codes, and gradients pass all the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from unstir.models.process_group import process_group


def straight_through(x: Tensor, q: Tensor) -> Tensor:
    """q in the forward pass; in the backward pass x gets the gradient of q unchanged. Source: Bengio et al. 2013."""
    return x + (q - x).detach()


def rotated_through(x: Tensor, q: Tensor) -> Tensor:
    """q in the forward pass; in the backward pass x gets its gradient through the rotation and scaling from x to q.

    x, q: (..., C), not zero. Where q points exactly away from x the rotation is not unique, and the gradient passes
    straight through.
    Returns as q.
    Source: Fifty et al. 2024, section 4.2.
    """
    u, w = F.normalize(x.detach(), dim=-1), F.normalize(q.detach(), dim=-1)
    scale = q.detach().norm(dim=-1, keepdim=True) / x.detach().norm(dim=-1, keepdim=True).clamp(min=1e-6)
    middle = u + w
    length = middle.norm(dim=-1, keepdim=True)
    r = middle / length.clamp(min=1e-6)
    along = x - 2 * (x * r).sum(-1, keepdim=True) * r + 2 * (x * u).sum(-1, keepdim=True) * w
    turned = torch.where(length > 1e-3, scale * along, straight_through(x, q))
    return straight_through(turned, q)  # the same, without rounding errors


class Quantised(NamedTuple):
    """The result of a quantiser.

    latent: (B, C, h, w), in the forward pass exactly that of the codes.
    codes: (B, h, w) int64.
    loss: what the quantiser adds to the loss of the model; a scalar, 0 where it adds nothing.
    """

    latent: Tensor
    codes: Tensor
    loss: Tensor


@dataclass(frozen=True)
class FsqConfig:
    """Finite scalar quantisation: each channel is rounded to one of a few levels.

    levels: number of levels of each channel, at least 2; the number of codes is their product.
    ValueError for less than 2 levels.
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"every channel needs 2 levels or more, got {self.levels}")

    @property
    def channels(self) -> int:
        """Of the latent."""
        return len(self.levels)

    @property
    def codes(self) -> int:
        """The number of codes."""
        return math.prod(self.levels)


class Fsq(nn.Module):
    """Finite scalar quantisation: no codebook, no loss of its own. Source: Mentzer et al. 2023."""

    levels: Tensor
    basis: Tensor

    def __init__(self, config: FsqConfig) -> None:
        super().__init__()
        self.config = config
        levels = torch.tensor(config.levels, device="cpu")
        self.register_buffer("levels", levels, persistent=False)
        basis = torch.cumprod(torch.tensor([1, *config.levels[:-1]], device="cpu"), 0)
        self.register_buffer("basis", basis, persistent=False)

    def bounded(self, x: Tensor) -> Tensor:
        """Squash the channels (last dimension) so that rounding gives each of its levels. float32."""
        half = (self.levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # an even number of levels lies between the integers
        return torch.tanh(x.float() + torch.atanh(offset / half)) * half - offset

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Quantised:  # noqa: ARG002
        """x: (B, C, h, w), C = number of channels. rng: not used."""
        bounded = self.bounded(x.movedim(1, -1))
        rounded = bounded.round()
        scale = self.levels // 2
        latent = (straight_through(bounded, rounded) / scale).movedim(-1, 1)
        return Quantised(latent, self._codes(rounded), latent.new_zeros(()))

    def _codes(self, rounded: Tensor) -> Tensor:
        return ((rounded.long() + self.levels // 2) * self.basis).sum(-1)

    def latent(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) -> latents (B, C, h, w) in [-1, 1]."""
        digits = (codes.unsqueeze(-1) // self.basis) % self.levels
        return ((digits - self.levels // 2) / (self.levels // 2)).movedim(-1, 1)


ESTIMATORS = {"straight": straight_through, "rotation": rotated_through}


@dataclass(frozen=True)
class CodebookConfig:
    """A learned codebook: each vector becomes its nearest code.

    codes: in the codebook.
    channels: of a code.
    decay: of the moving averages that the codes follow, for each batch.
    commitment: weight of the squared distance from the vectors to their codes.
    estimator: how gradients pass: "straight" or "rotation".
    restart: codes that fewer vectors than this choose, on average, are replaced by vectors of the batch.
    ValueError for an unknown estimator.
    """

    codes: int = 512
    channels: int = 8
    decay: float = 0.99
    commitment: float = 0.25
    estimator: str = "straight"
    restart: float = 0.1

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"there is no estimator {self.estimator!r}; there are: {', '.join(ESTIMATORS)}")


class Codebook(nn.Module):
    """A codebook that follows the vectors by moving averages, and replaces codes that are not used.

    Source: van den Oord et al. 2017, appendix A.1 (moving averages); Dhariwal et al. 2020, section 3.1 (restarts).
    """

    table: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        # The device is given: on "meta" a shape is enough, and random numbers would import torch's compiler.
        generator = torch.Generator("cpu").manual_seed(0)
        start = torch.randn(config.codes, config.channels, generator=generator, device="cpu")
        self.register_buffer("table", start)
        self.register_buffer("counts", torch.ones(config.codes, device="cpu"))
        self.register_buffer("sums", start.clone())

    def nearest(self, x: Tensor) -> Tensor:
        """The code nearest to each vector. x: (..., C).  Returns (...) int64."""
        flat = x.float().reshape(-1, x.shape[-1])  # in float32: differences of squares cancel
        table = self.table.float()
        distances = table.square().sum(1) - 2 * flat @ table.T
        return distances.argmin(1).view(x.shape[:-1])

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Quantised:
        """Quantise, and in training mode let the codebook follow.

        x: (B, C, h, w).
        rng: chooses the vectors that replace unused codes, in the same state in all processes; None: none is replaced.
        """
        vectors = x.movedim(1, -1).float()
        codes = self.nearest(vectors.detach())
        found = F.embedding(codes, self.table.float())
        if self.training:
            self._follow(vectors.detach().flatten(0, -2), codes.flatten(), rng)
        loss = self.config.commitment * (vectors - found).square().mean()
        latent = ESTIMATORS[self.config.estimator](vectors, found)
        return Quantised(latent.movedim(-1, 1), codes, loss)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor, rng: torch.Generator | None) -> None:
        keep = self.config.decay
        chosen = F.one_hot(codes, self.config.codes).to(vectors.dtype)
        counts, sums = chosen.sum(0), chosen.T @ vectors
        if process_group().size > 1:
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        self.counts.mul_(keep).add_(counts, alpha=1 - keep)
        self.sums.mul_(keep).add_(sums, alpha=1 - keep)
        if rng is not None:
            self._restart(vectors, rng)
        self.table.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])

    def _restart(self, vectors: Tensor, rng: torch.Generator) -> None:
        pick = torch.randint(len(vectors), (self.config.codes,), generator=rng, device=vectors.device)
        fresh = vectors[pick]
        if process_group().size > 1:
            distributed.broadcast(fresh, 0)
        unused = self.counts < self.config.restart
        self.counts.copy_(torch.where(unused, 1.0, self.counts))
        self.sums.copy_(torch.where(unused[:, None], fresh, self.sums))

    def latent(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) -> latents (B, C, h, w)."""
        return F.embedding(codes, self.table).movedim(-1, 1)


Quantiser = Fsq | Codebook


def code_use(codes: Sequence[Tensor] | Tensor, number: int) -> dict[str, float]:
    """How a set of codes is used.

    codes: int64 of any shape.
    number: of codes there are.
    Returns `perplexity`, the number of equally frequent codes of the same entropy, and `codes used`, the fraction that
    occurs at all.
    """
    flat = torch.cat([part.flatten() for part in codes]) if not isinstance(codes, Tensor) else codes.flatten()
    counts = torch.bincount(flat.cpu(), minlength=number).double()
    p = counts / counts.sum()
    entropy = -torch.xlogy(p, p).sum()
    return {"perplexity": entropy.exp().item(), "codes used": (counts > 0).double().mean().item()}
