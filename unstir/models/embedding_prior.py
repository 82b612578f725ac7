"""Priors of DALL-E 2: from the CLIP embedding of a text to the CLIP embedding of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.denoiser import NetworkDenoiser, noised
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import guide
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.sampler import levels_of
from unstir.diffusion.samplers.ddpm import ddpm
from unstir.diffusion.schedule import named_schedule
from unstir.diffusion.time_distribution import LogitNormal
from unstir.models.process_group import process_group
from unstir.nn.embedding_condition import EmbeddingDenoiser

PRIOR = 3
"""Stream of the noise: that of the prior has nothing in common with that of the pictures."""

SMALLEST_STD = 0.02
"""Deviations of principal components are not taken to be smaller than this, relative to the largest."""

LARGEST = 6.0
"""Of the standardised embeddings, either way; predictions are clipped to it."""


@dataclass(frozen=True)
class PriorConfig:
    """The diffusion prior.

    width, depth: of its network.
    """

    width: int = 256
    depth: int = 6


class EmbeddingPrior(nn.Module):
    """A ridge regression, and a diffusion model on embeddings that starts from it.

    Embeddings of pictures are standardised along their principal components. Most of their variance tells the things
    apart that prompts name, and little tells pictures of one prompt apart; standardised by dimension only, the little
    is drowned by the noise, and the drawn embeddings of a prompt are all alike (docs/log.md, 2026-11-21).
    width: of the embeddings of texts and pictures.
    mean: (width,), of the embeddings of training pictures.  basis: (width, width), their principal components.
    std: (width,), their deviations along these, at least SMALLEST_STD of the largest.
    ridge: (width + 1, width), from texts (with a constant 1) to standardised embeddings of pictures.
    Source: Ramesh et al. 2022, section 2.2, which predicts the embedding itself; Razzhigaev et al. 2023 (Kandinsky) for
    the linear map.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor
    ridge: Tensor

    def __init__(self, config: PriorConfig, width: int) -> None:
        super().__init__()
        self.width = width
        self.network = EmbeddingDenoiser(width, 2 * width + 1, config.width, config.depth)
        self.schedule = named_schedule("cosine")
        self.times = LogitNormal(0.0, 1.2)
        self.register_buffer("mean", torch.zeros(width, device="cpu"))
        self.register_buffer("std", torch.ones(width, device="cpu"))
        self.register_buffer("basis", torch.zeros(width, width, device="cpu"))
        self.register_buffer("ridge", torch.zeros(width + 1, width, device="cpu"))

    # Ridge regression

    @torch.no_grad()
    def fit(self, texts: Tensor, pictures: Tensor, weight: float = 1e-3) -> None:
        """Set mean, deviation and ridge regression from pairs. Deterministic; in float64.

        texts, pictures: (N, width) unit vectors.
        weight: of the squared norm of the map, relative to N.
        """
        z, t = pictures.double(), texts.double()
        centred = z - z.mean(0)
        variances, basis = torch.linalg.eigh(centred.T @ centred / max(len(z) - 1, 1))
        std = variances.clamp(min=0).sqrt()
        std = std.clamp(min=max(SMALLEST_STD * std.max().item(), 1e-6))
        self.mean.copy_(z.mean(0))
        self.std.copy_(std)
        self.basis.copy_(basis)
        self.ridge.copy_(ridge_regression(t, centred @ basis / std, weight))

    def linear(self, texts: Tensor) -> Tensor:
        """The ridge regression's standardised embeddings of texts. texts: (B, width).  Returns (B, width)."""
        return with_constant(texts) @ self.ridge.to(texts.dtype)

    def standardised(self, z: Tensor) -> Tensor:
        """Embeddings of pictures with mean 0 and deviation 1 along every principal component."""
        return (z - self.mean.to(z.dtype)) @ self.basis.to(z.dtype) / self.std.to(z.dtype)

    def unit(self, z: Tensor) -> Tensor:
        """The inverse of `standardised`, as unit vectors."""
        return F.normalize((z * self.std.to(z.dtype)) @ self.basis.to(z.dtype).T + self.mean.to(z.dtype), dim=-1)

    # Diffusion

    def given(self, texts: Tensor) -> Tensor:
        """The conditioning of texts; rows of zeros stand for no text."""
        known = (texts != 0).any(1, keepdim=True).to(texts.dtype)
        scaled = texts * self.width**0.5
        return torch.cat([scaled, known * self.linear(texts), known], dim=1)

    def denoiser(self) -> NetworkDenoiser:
        """The network as a denoiser of standardised embeddings, predicting them."""
        return NetworkDenoiser(self.network, self.schedule, Prediction("x0", 1.0), (-9.0, 9.0))

    def loss(self, texts: Tensor, z: Tensor, rng: torch.Generator) -> Tensor:
        """The mean squared error of the predicted embeddings, a scalar.

        texts: (B, width), rows of zeros where they were dropped.
        z: (B, width), unit vectors of pictures.
        rng: in the same state in all processes.
        """
        x0 = self.standardised(z.float())
        group = process_group()
        total = len(x0) * group.size
        rows = group.rows(total)
        t = self.times.sample(total, rng, rows)
        eps = torch.randn(total, self.width, generator=rng, device=x0.device)[rows]
        predicted = self.denoiser()(noised(x0, eps, t, self.schedule), t, self.given(texts.float()))
        return (predicted - x0).square().mean()

    @torch.no_grad()
    def draw(self, texts: Tensor, seeds: Sequence[int], steps: int = 24, guidance_scale: float = 1.0) -> Tensor:
        """Draw embeddings of pictures. texts: (B, width) unit vectors.  Returns (B, width) unit vectors.

        Each row is drawn alone, so that its bits do not depend on the others.
        """
        grid = time_grid(self.schedule, steps)
        levels = levels_of(self.schedule, grid)
        found = []
        for text, seed in zip(texts.float().split(1), seeds, strict=True):  # type: ignore[no-untyped-call]
            given, null = self.given(text), self.given(torch.zeros_like(text))
            guided = guide(self.denoiser(), null, guidance_scale)

            def denoise(xt: Tensor, t: Tensor, cond: Tensor, guided: object = guided) -> Tensor:
                out: Tensor = guided(xt, t, cond)  # type: ignore[operator]
                return out.clamp(-LARGEST, LARGEST)

            def noise(step: int, seed: int = seed) -> Tensor:
                return batch_normal((self.width,), [seed], step, PRIOR).to(texts.device)

            *_, last = ddpm(denoise, noise(0) * levels[0].sigma, given, levels, noise)
            found.append(self.unit(last.x0))
        return torch.cat(found)


def with_constant(x: Tensor) -> Tensor:
    """x: (N, D).  Returns (N, D + 1), the last column 1."""
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def ridge_regression(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """The matrix W that minimises |[x 1]·W - y|² / N + weight·|W|², the constant's row not penalised.

    x: (N, D).  y: (N, E).
    Returns (D + 1, E).
    """
    a = with_constant(x)
    penalty = weight * len(x) * torch.eye(a.shape[1], dtype=x.dtype, device=x.device)
    penalty[-1, -1] = 0
    found: Tensor = torch.linalg.solve(a.T @ a + penalty, a.T @ y)
    return found
