"""A hierarchical variational autoencoder: groups of latents from coarse to fine, conditioned on a text."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.noise import TRAINING, Seed, batch_normal
from unstir.models.generative import Frame, NotFinite, Pixels
from unstir.models.likelihood import discretised_logistic, importance_weighted
from unstir.models.pixels import to_model, to_pixels
from unstir.models.process_group import process_group
from unstir.models.vae_ladder import ConvBlock, Group, LatentBlock, VaeConfig
from unstir.nn.conv import Conv
from unstir.nn.init import init_constant
from unstir.nn.text import TextEncoder
from unstir.settings import VaeSettings
from unstir.text.tokenizer import Tokenizer

LEVELS = 255
"""Steps between the smallest and the largest value of a pixel."""


class VaeBatch(NamedTuple):
    """x0: (B, C, S, S) on the 256 levels in [-1, 1].  ids: (B, L) tokens of the captions."""

    x0: Tensor
    ids: Tensor


class Vae(nn.Module):
    """A `GenerativeModel` and `LikelihoodModel`: a ladder of Gaussian latents with a calibrated decoder.

    The decoder's distribution is a discretised logistic one whose scale is learned for each channel, so that the error
    of the pictures and the divergence of the latents weigh as their likelihoods say, with no factor to tune.
    Source: Kingma and Welling 2014; Child 2021; Rybkin et al. 2021 (calibrated decoders).
    """

    def __init__(self, config: VaeConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.text = TextEncoder(config.text)
        width, depth = config.width, sum(config.blocks)
        fold = config.size // config.scales[0]
        self.inward = Conv(config.channels * fold**2, width, 3)
        self.encoder = nn.ModuleList(
            nn.ModuleList(ConvBlock(width, max(16, width // 2), width, side) for _ in range(2))
            for side in config.scales
        )
        self.start = nn.Parameter(torch.zeros(width, config.scales[-1], config.scales[-1]))
        self.ladder = nn.ModuleList(
            nn.ModuleList(LatentBlock(config, side, depth) for _ in range(count))
            for side, count in zip(config.scales[::-1], config.blocks[::-1], strict=True)
        )
        self.position = nn.ParameterList(
            nn.Parameter(torch.zeros(width, side, side)) for side in config.scales[::-1][1:]
        )
        self.out = Conv(width, config.channels * fold**2, 3)
        self.log_scale = nn.Parameter(torch.zeros(config.channels))
        init_constant(self, log_scale=-1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @property
    def groups(self) -> list[int]:
        """The side of each group of latents, in the order in which they are drawn."""
        config = self.config
        sides = zip(config.scales[::-1], config.blocks[::-1], strict=True)
        return [side for side, count in sides for _ in range(count)]

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """One part, the whole model."""
        return {"main": self}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile each kind of block with torch."""
        for module in self.modules():
            if isinstance(module, ConvBlock):
                module.compile(dynamic=False)

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> VaeBatch:
        """uint8 (B, H, W, C), straight alpha, and B captions -> a batch on the model's device."""
        x0 = to_model(pixels.to(self.device))
        return VaeBatch(((x0 + 1) * (LEVELS / 2)).round() * (2 / LEVELS) - 1, self.tokenize(captions))

    def losses(self, batch: VaeBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the bound on the bits per dimension). rng: in the same state in all processes."""
        group = process_group()
        total = len(batch.x0) * group.size
        rows, latent = group.rows(total), self.config.latent
        noise = [
            torch.randn(total, latent, side, side, generator=rng, device=batch.x0.device)[rows] for side in self.groups
        ]
        log_likelihood, kl, _ = self.terms(batch, noise)
        yield "main", ((kl - log_likelihood).mean() / (batch.x0[0].numel() * math.log(2)))

    def terms(self, batch: VaeBatch, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What the bounds are made of, for latents drawn from the posterior.

        noise: standard normal, one tensor for each group.
        Returns in nats, each (B,): log p(x | z), the divergence of the posterior, and log p(z) - log q(z | x).
        """
        words = self.text(batch.ids).pooled
        mean, groups = self._run(words, noise, self._features(batch.x0))
        kl, ratio = sum(one.kl for one in groups), sum(one.log_ratio for one in groups)
        assert isinstance(kl, Tensor)
        assert isinstance(ratio, Tensor)
        return self.log_likelihood(batch.x0, mean), kl, ratio

    def log_likelihood(self, x0: Tensor, mean: Tensor) -> Tensor:
        """log p(x0 | latents) of each picture in nats, (B,). mean: what the decoder predicts."""
        scale = self.log_scale.float().clamp(min=-7.0)[:, None, None]
        return discretised_logistic(x0, mean.float(), scale).flatten(1).sum(1)

    def _features(self, x0: Tensor) -> list[Tensor]:
        """Features of pictures at every scale, coarse to fine."""
        fold = self.config.size // self.config.scales[0]
        x = self.inward(F.pixel_unshuffle(x0.to(self.inward.weight.dtype), fold))
        found = []
        for i, blocks in enumerate(self.encoder):
            if i:
                x = F.avg_pool2d(x, self.config.scales[i - 1] // self.config.scales[i])
            for block in blocks:  # type: ignore[attr-defined]
                x = x + block(x)
            found.append(x)
        return found[::-1]

    def _run(
        self,
        words: Tensor,
        noise: Sequence[Tensor],
        seen: Sequence[Tensor] | None,
        temperature: float = 1.0,
        given: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, list[Group]]:
        """The predicted pictures and the groups of latents.

        given: the latents of the first groups, which are taken as they are.
        """
        x = self.start.expand(len(words), -1, -1, -1).to(self.out.weight.dtype)
        groups: list[Group] = []
        for i, blocks in enumerate(self.ladder):
            if i:
                grown = F.interpolate(x, size=self.position[i - 1].shape[-2:], mode="nearest")
                x = grown + self.position[i - 1].to(x.dtype)
            for block in blocks:  # type: ignore[attr-defined]
                eps = noise[len(groups)].to(words.device)
                known = None if given is None or len(groups) >= len(given) else given[len(groups)]
                x, group = block(x, words.to(x.dtype), eps, None if seen is None else seen[i], temperature, known)
                groups.append(group)
        fold = self.config.size // self.config.scales[0]
        return F.pixel_shuffle(self.out(F.gelu(x)), fold), groups

    # Likelihood

    def picture_bits(self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int]) -> Iterator[float]:
        """An upper bound on the bits per dimension of each picture (the negative ELBO); see `LikelihoodModel`."""
        yield from self.importance_bits(pixels, captions, seeds, samples=1)

    @torch.no_grad()
    def importance_bits(
        self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int], samples: int = 16
    ) -> Iterator[float]:
        """An upper bound on the bits per dimension of each picture, tighter with more samples (`importance_weighted`).

        Arguments as of `picture_bits`; samples: of the latents, for each picture.
        """
        for row, caption in enumerate(captions):
            batch = self.batch(pixels[row : row + 1], [caption])
            weights = []
            for sample in range(samples):
                noise = self._noise([seeds[row]], TRAINING, sample * len(self.groups))
                log_likelihood, kl, ratio = self.terms(batch, noise)
                # With one sample the divergence in closed form varies less than its estimate.
                weights.append(log_likelihood + (ratio if samples > 1 else -kl))
            bound = importance_weighted(torch.stack(weights).double())
            yield -bound.item() / (batch.x0.numel() * math.log(2))

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.tokenizer.encode([prompt], self.config.text.length)

    # Drawing

    def _noise(self, seeds: Sequence[Seed], stream: int = 0, start: int = 0) -> list[Tensor]:
        """The noise of every group of latents. start: the first step of the noise."""
        latent = self.config.latent
        return [
            batch_normal((latent, side, side), seeds, start + i, stream).to(self.device)
            for i, side in enumerate(self.groups)
        ]

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: VaeSettings | None = None,
        *,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures. Frame i has the first i + 1 groups of latents drawn, the others at their likeliest value.

        Arguments and errors as of `GenerativeModel.draw`.
        """
        return self.draw_conditioned(self.encode(prompts), seeds, settings or VaeSettings(), exact=exact)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The pooled vectors of prompts, each encoded alone. Returns (B, text width)."""
        return torch.cat([self.text(self.tokenize([prompt])).pooled for prompt in prompts])

    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """One vector for each text, (B, width)."""
        return self.encode(texts).float()

    @torch.no_grad()
    def _decoded(
        self,
        words: Tensor,
        noise: Sequence[Tensor],
        temperature: float,
        exact: bool,
        given: Sequence[Tensor] | None = None,
    ) -> Pixels:
        """Pictures of latents, given or drawn."""
        rows = [slice(i, i + 1) for i in range(len(words))] if exact else [slice(None)]
        made = torch.cat(
            [
                self._run(
                    words[row],
                    [eps[row] for eps in noise],
                    None,
                    temperature,
                    None if given is None else [z[row] for z in given],
                )[0]
                for row in rows
            ]
        )
        if not made.isfinite().all():
            raise NotFinite("the model gives NaN or infinity instead of pictures: train it with a lower learning rate")
        pixels: Pixels = to_pixels(made).cpu().numpy()
        return pixels

    # Exploration (`models.exploration`)

    def conditioning(self, prompt: str, seed: int, settings: VaeSettings) -> Tensor:  # noqa: ARG002
        """The pooled vector of a prompt. seed, settings: not used."""
        return self.encode([prompt])

    def blend(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """The straight line between two vectors."""
        return torch.lerp(a, b, fraction)

    def draw_conditioned(
        self, cond: Tensor, seeds: Sequence[Seed], settings: VaeSettings, *, exact: bool = True
    ) -> Iterator[Frame]:
        """Draw pictures of pooled vectors. cond: (B, text width)."""
        noise = self._noise(seeds)
        total = len(noise)

        def picture(i: int) -> Pixels:
            drawn = [eps if group <= i else torch.zeros_like(eps) for group, eps in enumerate(noise)]
            return self._decoded(cond, drawn, settings.temperature, exact)

        return (Frame(i, total, partial(picture, i)) for i in range(total))

    @torch.no_grad()
    def invert(self, pixels: Tensor, settings: VaeSettings) -> list[Tensor]:  # noqa: ARG002
        """The likeliest latents of a picture, every group of them, without words. pixels: (1, H, W, C) uint8."""
        batch = self.batch(pixels, [""])
        still = [torch.zeros_like(eps) for eps in self._noise([0])]
        _, groups = self._run(self.text(batch.ids).pooled, still, self._features(batch.x0))
        return [group.z for group in groups]

    def blend_points(self, a: Sequence[Tensor], b: Sequence[Tensor], fraction: float) -> list[Tensor]:
        """The straight line between the latents of two pictures."""
        return [torch.lerp(x, y, fraction) for x, y in zip(a, b, strict=True)]

    def draw_point(self, point: Sequence[Tensor], settings: VaeSettings) -> Iterator[Frame]:
        """Decode latents."""
        noise = [torch.zeros_like(z) for z in point]
        picture = partial(self._decoded, self.encode([""]), noise, settings.temperature, True, point)
        return iter([Frame(0, 1, picture)])

    def vary(
        self,
        pixels: Tensor,
        seeds: Sequence[int],
        settings: VaeSettings | None = None,
        *,
        strength: float,
        prompt: str = "",
    ) -> Iterator[Frame]:
        """Draw variations: the coarse groups of latents are kept, the finest share `strength` of them drawn anew."""
        settings = settings or VaeSettings()
        kept = self.invert(pixels, settings)
        count = round((1 - strength) * len(kept))
        words, noise = self.encode([prompt]), self._noise(seeds)

        def picture() -> Pixels:
            rows = []
            for row in range(len(seeds)):
                with torch.no_grad():
                    eps = [one[row : row + 1] for one in noise]
                    rows.append(self._run(words, eps, None, settings.temperature, kept[:count])[0])
            made: Pixels = to_pixels(torch.cat(rows)).cpu().numpy()
            return made

        return iter([Frame(0, 1, picture)])
