"""How an autoencoder is trained: the loss, with a perceptual distance and a critic where they are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.models.autoencoder import Autoencoder
from unstir.models.perceptual import Perceptual
from unstir.models.pixels import to_model
from unstir.models.process_group import group_mean, process_group
from unstir.nn.autoencoder import PatchCritic

LARGEST_CRITIC_WEIGHT = 1e4
"""Of the critic relative to the error. Source: Esser et al. 2021, the published code."""


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """The weights of the terms, relative to the mean absolute error of the pixels.

    pyramid: of the same error at a half and a quarter of the size.
    perceptual: of the distance in the features of an image encoder (`models.perceptual`); 0: none is needed.
    equivariance: of the error of pictures decoded from latents at a half or a quarter of their size, compared with the
        pictures at that size. Diffusion learns such latents faster. Source: Kouzelis et al. 2025 (EQ-VAE), without
        rotations; Skorokhodov et al. 2025.
    critic: of a patch critic, relative to the gradient of the other terms; 0: there is none.
    critic_from: pictures after which the critic counts.
    """

    pyramid: float = 0.5
    perceptual: float = 0.0
    equivariance: float = 0.25
    critic: float = 0.0
    critic_from: int = 0


class PictureBatch(NamedTuple):
    """x0: (B, C, S, S) in [-1, 1], premultiplied."""

    x0: Tensor


class AutoencoderTrainer(nn.Module):
    """A `Trainable`: an autoencoder, and what is needed to train it only.

    autoencoder: is trained and exported.
    config: of the loss.
    perceptual: where its weight is not 0. ValueError where it is missing.
    """

    images_seen: Tensor
    measured: Tensor

    def __init__(
        self, autoencoder: Autoencoder, config: AutoencoderLossConfig, perceptual: Perceptual | None = None
    ) -> None:
        super().__init__()
        if config.perceptual and perceptual is None:
            raise ValueError("a perceptual distance needs an image encoder, and there is none")
        self.autoencoder = autoencoder
        self.config = autoencoder.config
        self.loss_config = config
        self.perceptual = perceptual if config.perceptual else None
        self.critic = PatchCritic(autoencoder.config.network.channels) if config.critic else None
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64, device="cpu"))
        if autoencoder.quantiser is None:
            self.register_buffer("measured", torch.zeros((), dtype=torch.int64, device="cpu"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return self.autoencoder.device

    def parts(self) -> dict[str, nn.Module]:
        """Which module each named loss trains."""
        return {"main": self.autoencoder} | ({} if self.critic is None else {"critic": self.critic})

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self.autoencoder

    def compile_loss(self) -> None:
        """Compile encoder and decoder with torch."""
        self.autoencoder.encoder.compile()
        self.autoencoder.decoder.compile()

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> PictureBatch:  # noqa: ARG002 - it reads none
        """uint8 (B, H, W, C) -> pictures on the model's device."""
        return PictureBatch(to_model(pixels.to(self.device)))

    def losses(self, batch: PictureBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", ...), and with a critic ("critic", ...). rng: in the same state in all processes."""
        config, real = self.loss_config, batch.x0
        z, extra = self._latents(real, rng)
        made = self.autoencoder.pictures(z).float()
        error = self.distance(made, real) + extra
        smaller = self._smaller(z, rng)
        if smaller:
            reduced = self.autoencoder.pictures(F.avg_pool2d(z, smaller)).float()
            error = error + config.equivariance * self.distance(reduced, F.avg_pool2d(real, smaller))
        scored = self.critic is not None and int(self.images_seen) >= config.critic_from
        if scored:
            error = error + self._fooling(made, error)
        yield "main", error
        if self.critic is not None:
            # Hinge loss. Source: Lim and Ye 2017.
            loss = F.relu(1 - self.critic(real)).mean() + F.relu(1 + self.critic(made.detach())).mean()
            yield "critic", 0.5 * loss.float()
        if self.training:
            self.images_seen += len(real) * process_group().size

    def distance(self, made: Tensor, real: Tensor) -> Tensor:
        """The error of pictures without the terms of latents and critic, a scalar."""
        config = self.loss_config
        total = (made - real).abs().mean()
        if config.pyramid:
            for k in (2, 4):
                if real.shape[-1] % k == 0:
                    reduced = F.avg_pool2d(made, k) - F.avg_pool2d(real, k)
                    total = total + config.pyramid * reduced.abs().mean()
        if self.perceptual is not None:
            total = total + config.perceptual * self.perceptual(made, real)
        return total

    def _latents(self, real: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents of a batch, not standardised, and what the bottleneck adds to the loss."""
        model = self.autoencoder
        if model.quantiser is not None:
            found = model.quantiser(model.features(real), rng)
            return found.latent, found.loss
        posterior = model.posterior(real)
        group = process_group()
        total = len(real) * group.size
        shape = (total, *posterior.mean.shape[1:])
        eps = torch.randn(shape, generator=rng, device=real.device)[group.rows(total)]
        z = posterior.sample(eps)
        if self.training:
            self._measure(z.detach())
        weight = getattr(self.config.bottleneck, "weight", 0.0)
        return z, weight * posterior.kl().mean() / real[0].numel()

    @torch.no_grad()
    def _measure(self, z: Tensor) -> None:
        """Follow mean and deviation of the latents by a moving average over about a hundred batches."""
        model = self.autoencoder
        mean = group_mean(z.mean((0, 2, 3)))
        variance = group_mean(z.square().mean((0, 2, 3))) - mean.square()
        rate = max(0.01, 1 / (1 + int(self.measured)))
        model.latent_mean.lerp_(mean, rate)
        model.latent_std.copy_(model.latent_std.square().lerp(variance, rate).clamp(min=1e-12).sqrt())
        self.measured += 1

    def _smaller(self, z: Tensor, rng: torch.Generator) -> int:
        """The factor by which latents are reduced in this step; 0: they are not."""
        if not self.loss_config.equivariance or self.autoencoder.quantiser is not None:
            return 0
        factors = [k for k in (2, 4) if z.shape[-1] % k == 0 and z.shape[-1] > k]
        pick = torch.randint(max(len(factors), 1), (), generator=rng, device=z.device)
        return factors[int(pick)] if factors else 0

    def _fooling(self, made: Tensor, error: Tensor) -> Tensor:
        """The generator's side of the critic, weighted so that its gradient compares with that of the error."""
        assert self.critic is not None
        loss: Tensor = -self.critic(made).mean().float()
        if not torch.is_grad_enabled():
            return self.loss_config.critic * loss
        last = self.autoencoder.decoder.last_layer
        # Source: Esser et al. 2021, eq. 7.
        of_error, of_critic = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (error, loss))
        weight = (of_error / of_critic.clamp(min=1e-4)).clamp(max=LARGEST_CRITIC_WEIGHT).detach()
        weighted: Tensor = self.loss_config.critic * weight * loss
        return weighted
