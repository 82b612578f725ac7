"""Latent diffusion, the design of Stable Diffusion: a diffusion model in the latents of a frozen autoencoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unstir.models.autoencoder import Autoencoder, AutoencoderConfig
from unstir.models.diffusion import Batch, Diffusion, DiffusionConfig
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LatentConfig(DiffusionConfig):
    """As `DiffusionConfig`: the network is that of the latents, and standardised latents have a deviation of 1.

    autoencoder: the codec.
    ValueError where the network does not fit the latents, or the autoencoder quantises.
    """

    autoencoder: AutoencoderConfig
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        channels, side, _ = self.autoencoder.latent_shape
        if (self.network.channels, self.network.size) != (channels, side):
            raise ValueError(
                f"the network takes {self.network.channels} channels of {self.network.size} positions a side, and the "
                f"latents have {channels} of {side}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.autoencoder.shape

    def with_autoencoder(self, autoencoder: AutoencoderConfig) -> "LatentConfig":
        """This configuration for another autoencoder; the network takes its latents."""
        channels, side, _ = autoencoder.latent_shape
        return replace(self, autoencoder=autoencoder, network=replace(self.network, channels=channels, size=side))


class LatentDiffusion(Diffusion):
    """A `Diffusion` whose codec is an autoencoder. One model file holds both; the autoencoder is not trained."""

    codec: Autoencoder
    picture_bits = None  # type: ignore[assignment]  # the likelihood of latents is not that of pictures
    ode_bits = None  # type: ignore[assignment]

    def __init__(self, config: LatentConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer, Autoencoder(config.autoencoder).frozen())

    def parts(self) -> dict[str, nn.Module]:
        """Everything but the codec."""
        modules = {"text": self.text, "network": self.network} | ({"layout": self.layout} if self.layout else {})
        return {"main": nn.ModuleDict(modules)}

    def latent_batch(self, mean: Tensor, std: Tensor, eps: Tensor, captions: Sequence[str]) -> Batch:
        """A batch of samples of the posterior.

        mean, std, eps: (B, *latent_shape), of standardised latents, and standard normal noise.
        captions: B texts.
        """
        x0 = mean.to(self.device) + std.to(self.device) * eps.to(self.device)
        return Batch(x0, self.tokenize(captions))

    @torch.no_grad()
    def adopt(self, autoencoder: Autoencoder) -> None:
        """Take over the weights of an autoencoder of the same configuration."""
        self.codec.load_state_dict(autoencoder.state_dict())
