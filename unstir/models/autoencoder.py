"""The autoencoder: a codec that has learned a space smaller than the pixels, for models that work in latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.diffusion.chain import gaussian_kl
from unstir.diffusion.denoiser import Denoiser
from unstir.models.generative import Frame, Pixels
from unstir.models.pixels import to_model, to_pixels
from unstir.models.quantise import Codebook, CodebookConfig, Fsq, FsqConfig, Quantiser
from unstir.models.tiles import tiled
from unstir.nn.autoencoder import ConvNetConfig, Decoder, Encoder, spatial_size
from unstir.nn.conv import Conv

LOGVAR_RANGE = (-30.0, 20.0)
"""Of the posterior. Source: Rombach et al. 2022, the published code."""


@dataclass(frozen=True)
class KlConfig:
    """A Gaussian posterior, its mean and variance given by the encoder.

    weight: of the divergence from N(0, 1), summed over the latent, relative to the error summed over the pixels.
    mix: a 1×1 convolution on either side of the latent, as in Stable Diffusion.
    offset: is added to the log variance; below 0 training begins with little noise, as an autoencoder.
    """

    weight: float = 1e-6
    mix: bool = False
    offset: float = -6.0


@dataclass(frozen=True)
class AutoencoderConfig:
    """The architecture.

    size: side of the pictures that it is trained on, a multiple of `network.factor`. Others can be encoded too.
    network: encoder and decoder. Where codes are quantised, their number of channels stands for `network.latent`.
    bottleneck: what is between encoder and decoder.
    tile: pictures with a longer side are encoded and decoded in tiles of this side; a multiple of `network.factor`.
    ValueError for sides that are not multiples.
    """

    size: int
    network: ConvNetConfig
    bottleneck: KlConfig | FsqConfig | CodebookConfig = KlConfig()
    tile: int = 512

    def __post_init__(self) -> None:
        for side in (self.size, self.tile):
            spatial_size(side, self.network.factor)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.network.channels, self.size, self.size

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return self.network.latent if isinstance(self.bottleneck, KlConfig) else self.bottleneck.channels

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the latent of one picture."""
        side = spatial_size(self.size, self.network.factor)
        return self.latent_channels, side, side


class Posterior(NamedTuple):
    """A Gaussian over latents. mean, logvar: (B, C, h, w)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """eps: standard normal noise in the shape of the mean."""
        return self.mean + (0.5 * self.logvar).exp() * eps

    def kl(self) -> Tensor:
        """The divergence from N(0, 1) in nats, summed over the latent. Returns (B,)."""
        return gaussian_kl(self.mean, (0.5 * self.logvar).exp(), 0.0, 1.0).flatten(1).sum(1)


class Autoencoder(nn.Module):
    """A `Codec` with weights. With a Gaussian bottleneck its latents are standardised for each channel.

    latent_mean, latent_std: (C,), of the latents before standardisation; they are measured while it is trained.
    quantiser: of a quantised bottleneck, or None.
    """

    latent_mean: Tensor
    latent_std: Tensor
    quantiser: Quantiser | None

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        match config.bottleneck:
            case KlConfig():
                self.quantiser = None
                outside = 2 * channels
            case FsqConfig():
                self.quantiser = Fsq(config.bottleneck)
                outside = channels
            case CodebookConfig():
                self.quantiser = Codebook(config.bottleneck)
                outside = channels
        self.encoder = Encoder(config.network, outside)
        self.decoder = Decoder(config.network, channels)
        self.mixes = isinstance(config.bottleneck, KlConfig) and config.bottleneck.mix
        if self.mixes:
            self.mix_in, self.mix_out = Conv(outside, outside, 1), Conv(channels, channels, 1)
        if self.quantiser is None:
            self.register_buffer("latent_mean", torch.zeros(channels, device="cpu"))
            self.register_buffer("latent_std", torch.ones(channels, device="cpu"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # On floats, with gradients

    def features(self, x: Tensor) -> Tensor:
        """What the encoder gives for pictures. x: (B, C, H, W) in [-1, 1], premultiplied."""
        h: Tensor = self.encoder(x)
        return self.mix_in(h) if self.mixes else h

    def posterior(self, x: Tensor) -> Posterior:
        """The posterior of pictures, not standardised. For a Gaussian bottleneck.

        x: (B, C, H, W) in [-1, 1], premultiplied.
        """
        assert isinstance(self.config.bottleneck, KlConfig)
        mean, logvar = self.features(x).float().chunk(2, dim=1)
        return Posterior(mean, (logvar + self.config.bottleneck.offset).clamp(*LOGVAR_RANGE))

    def pictures(self, z: Tensor) -> Tensor:
        """Pictures of latents that are not standardised. z: (B, C, h, w).  Returns (B, C, H, W) in about [-1, 1]."""
        if self.mixes:
            z = self.mix_out(z.to(self.mix_out.weight.dtype))
        out: Tensor = self.decoder(z)
        return out

    def standardised(self, z: Tensor) -> Tensor:
        """Latents with mean 0 and deviation 1 in each channel; quantised ones as they are."""
        if self.quantiser is not None:
            return z
        mean, std = (part[:, None, None].to(z.dtype) for part in (self.latent_mean, self.latent_std))
        return (z - mean) / std

    def restored(self, latent: Tensor) -> Tensor:
        """The inverse of `standardised`."""
        if self.quantiser is not None:
            return latent
        mean, std = (part[:, None, None].to(latent.dtype) for part in (self.latent_mean, self.latent_std))
        return latent * std + mean

    @torch.no_grad()
    def standardised_posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the standardised latents, each (B, C, h, w).

        pixels: (B, H, W, C) uint8. Each picture is encoded alone, so that its bits do not depend on the others.
        """
        means, stds = [], []
        for x in to_model(pixels.to(self.device)).split(1):  # type: ignore[no-untyped-call]
            mean, logvar = self._in_tiles(lambda part: torch.cat(self.posterior(part), 1), x).chunk(2, dim=1)
            means.append(self.standardised(mean))
            stds.append((0.5 * logvar).exp() / self.latent_std[:, None, None])
        return torch.cat(means), torch.cat(stds)

    # As a codec

    def latent_shape(self, picture: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the latent of one picture. ValueError for sides that are not multiples."""
        _, height, width = picture
        factor = self.config.network.factor
        return self.config.latent_channels, spatial_size(height, factor), spatial_size(width, factor)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> latents (B, *latent_shape): the mean of the posterior, or the latents of the codes."""
        if self.quantiser is not None:
            return self.quantiser.latent(self.codes(pixels)).to(next(self.parameters()).dtype)
        return self.standardised_posterior(pixels)[0]

    @torch.no_grad()
    def codes(self, pixels: Tensor) -> Tensor:
        """Codes of pictures, (B, h, w) int64; each picture is encoded alone. For a quantised bottleneck.

        pixels: (B, H, W, C) uint8.
        """
        assert self.quantiser is not None
        was = self.quantiser.training
        self.quantiser.eval()  # looking at pictures does not move the codebook
        rows = [self._in_tiles(self.features, x) for x in to_model(pixels.to(self.device)).split(1)]  # type: ignore[no-untyped-call]
        codes = torch.cat([self.quantiser(row).codes for row in rows])
        self.quantiser.train(was)
        return codes

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Pixels:
        """Latents (B, *latent_shape) -> uint8 (B, H, W, C), each alone."""
        network = self.config.network
        tile = self.config.tile // network.factor

        def decoded(z: Tensor) -> Tensor:
            return tiled(self.pictures, z, tile, max(1, tile // 4), network.factor)

        made = [to_pixels(decoded(self.restored(one.float()))) for one in latent.split(1)]  # type: ignore[no-untyped-call]
        pixels: Pixels = torch.cat(made).cpu().numpy()
        return pixels

    def bounded(self, denoise: Denoiser, threshold: float = 1.0) -> Denoiser:
        """The denoiser as it is: latents have no range. ValueError for dynamic thresholding."""
        if threshold != 1:
            raise ValueError("threshold works on pixels, and this model denoises latents; omit it")
        return denoise

    def _in_tiles(self, change: "nn.Module | object", x: Tensor) -> Tensor:
        factor, tile = self.config.network.factor, self.config.tile
        # A quarter of a tile, in whole positions of the latent.
        return tiled(change, x, tile, max(1, tile // factor // 4) * factor, 1 / factor)  # type: ignore[arg-type]

    # Exploration (`models.exploration`)

    def invert(self, pixels: Tensor, settings: None = None) -> Tensor:  # noqa: ARG002 - there are none
        """The latent of a picture. pixels: (1, H, W, C) uint8."""
        return self.encode(pixels)

    def blend_points(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """The straight line between two latents."""
        return torch.lerp(a, b, fraction)

    def draw_point(self, point: Tensor, settings: None = None) -> Iterator[Frame]:  # noqa: ARG002 - there are none
        """Decode a latent."""
        return iter([Frame(0, 1, lambda: self.decode(point))])

    def frozen(self) -> "Autoencoder":
        """This autoencoder, its weights excluded from training."""
        self.requires_grad_(False)
        return self


def reconstructions(model: Autoencoder, pixels: Tensor) -> Iterator[Pixels]:
    """Pictures encoded and decoded, one after the other, each (1, H, W, C). pixels: (B, H, W, C) uint8."""
    for one in pixels.split(1):  # type: ignore[no-untyped-call]
        yield model.decode(model.encode(one))
