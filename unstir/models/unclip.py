"""DALL-E 2 (unCLIP): the CLIP embedding of a text, a prior to that of a picture, and a diffusion decoder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.grid import time_grid
from unstir.diffusion.inversion import ddim_inversion
from unstir.diffusion.noise import Seed, batch_normal, slerp
from unstir.diffusion.sampler import levels_of
from unstir.models.clip import Clip, ClipConfig
from unstir.models.diffusion import VARYING, Batch, Diffusion, DiffusionConfig
from unstir.models.embedding_prior import EmbeddingPrior, PriorConfig
from unstir.models.generative import Frame
from unstir.models.pixels import resized, to_model, with_channels
from unstir.nn.embedding_condition import EmbeddingConfig
from unstir.nn.text import TextEncoding
from unstir.settings import UnclipSettings
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class UnclipConfig(DiffusionConfig):
    """As `DiffusionConfig`, for the decoder, whose conditioning is an embedding.

    text: how the embedding becomes conditioning.
    clip: makes the embeddings; it is frozen.
    prior: from the embedding of a text to that of a picture.
    """

    text: EmbeddingConfig  # type: ignore[assignment]
    clip: ClipConfig
    prior: PriorConfig = field(default_factory=PriorConfig)

    def with_clip(self, clip: ClipConfig) -> "UnclipConfig":
        """This configuration for another CLIP."""
        return replace(self, clip=clip, text=replace(self.text, embedding=clip.width))


class UnclipBatch(NamedTuple):
    """A training batch.

    x0: (B, C, S, S) pictures.
    ids: (B, width), CLIP's embeddings of the pictures, rows of zeros where the conditioning is dropped.
    texts: (B, width), CLIP's embeddings of the captions; likewise.
    pictures: (B, width), CLIP's embeddings of all the pictures.
    layout: None.
    """

    x0: Tensor
    ids: Tensor
    texts: Tensor
    pictures: Tensor
    layout: None = None


class Unclip(Diffusion):
    """A `GenerativeModel` of two parts: the prior, and a diffusion model that draws a picture of an embedding."""

    config: UnclipConfig
    picture_bits = None  # type: ignore[assignment]  # the likelihood given an embedding is not that given a text
    ode_bits = None  # type: ignore[assignment]

    def __init__(self, config: UnclipConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.clip = Clip(config.clip, tokenizer)
        self.clip.requires_grad_(False)
        self.prior = EmbeddingPrior(config.prior, config.clip.width)

    @torch.no_grad()
    def adopt(self, clip: Clip) -> None:
        """Take over the weights of a CLIP of the same configuration."""
        self.clip.load_state_dict(clip.state_dict())

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """The prior and the decoder; CLIP is not trained."""
        return {"prior": self.prior, "main": nn.ModuleDict({"text": self.text, "network": self.network})}

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> UnclipBatch:  # type: ignore[override]
        """uint8 (B, H, W, C), straight alpha, and B captions; of "" both conditionings are dropped."""
        x0 = to_model(pixels.to(self.device))
        given = torch.tensor([[caption != ""] for caption in captions], device=self.device)
        z = self.embed_pictures(x0)
        return UnclipBatch(x0, z * given, self._embed_texts(captions) * given, z)

    @torch.no_grad()
    def embed_pictures(self, x0: Tensor) -> Tensor:
        """CLIP's embeddings of pictures, (B, width) unit vectors. x0: (B, C, S, S) in [-1, 1], premultiplied."""
        channels, side, _ = self.clip.shape
        return self.clip.embed_pictures(resized(with_channels(x0, channels), side))

    @torch.no_grad()
    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.clip.embed_ids(self.tokenize(texts))

    def losses(self, batch: UnclipBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:  # type: ignore[override]
        """("prior", the error of the embeddings), and ("main", as of `Diffusion`). rng: the same in all processes.

        The prior learns without texts where they are dropped, but always towards the true embedding.
        """
        yield "prior", self.prior.loss(batch.texts, batch.pictures, rng)
        yield from super().losses(Batch(batch.x0, batch.ids), rng)

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return self.clip.tokenize(texts)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.clip.tokenize([prompt])

    def embeddings(self, prompts: Sequence[str], seeds: Sequence[int], settings: UnclipSettings) -> Tensor:
        """Embeddings of pictures for prompts, by the prior that the settings name.

        Returns (B, width) unit vectors, rows of zeros for the empty prompt.
        """
        texts = self.clip.embed_words(prompts)
        match settings.prior:
            case "none":
                z = texts
            case "ridge":
                z = torch.cat([self.prior.unit(self.prior.linear(text)) for text in texts.split(1)])  # type: ignore[no-untyped-call]
            case _:
                z = self.prior.draw(texts, seeds, settings.prior_steps, settings.prior_guidance)
        empty = torch.tensor([[prompt == ""] for prompt in prompts], device=z.device)
        return torch.where(empty, 0, z)

    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """CLIP's vectors of texts, (B, width)."""
        return self.clip.embed_words(texts)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextEncoding:
        """The conditioning of texts by the ridge regression; it is used for negative prompts, which have no seed."""
        z = self.embeddings(texts, [0] * len(texts), UnclipSettings(prior="ridge"))
        return self.of_embeddings(z)

    @torch.no_grad()
    def of_embeddings(self, z: Tensor) -> TextEncoding:
        """The conditioning of embeddings, each by itself. z: (B, width)."""
        return TextEncoding.joined([self.read(one) for one in z.split(1)])  # type: ignore[no-untyped-call]

    # Drawing

    def draw(  # type: ignore[override]
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: UnclipSettings | None = None,
        *,
        exact: bool = True,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
    ) -> Iterator[Frame]:
        """Draw pictures, one frame a step of the decoder. Arguments as of `Diffusion.draw`."""
        settings = settings or UnclipSettings()
        self.check_prompts(prompts)
        return self.draw_embeddings(self.embeddings(prompts, seeds, settings), seeds, settings, exact=exact, wrap=wrap)

    def draw_embeddings(
        self,
        z: Tensor,
        seeds: Sequence[Seed],
        settings: UnclipSettings | None = None,
        *,
        exact: bool = True,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Frame]:
        """Draw pictures of embeddings. z: (B, width); the other arguments as of `draw` and `Diffusion.sample`."""
        settings = settings or UnclipSettings()
        steps = self.sample(self.of_embeddings(z), seeds, settings, exact=exact, wrap=wrap, start=start)
        return self.frames(steps, settings.frames(settings.steps))

    # Exploration (`models.exploration`)

    def conditioning(self, prompt: str, seed: int, settings: UnclipSettings) -> Tensor:  # type: ignore[override]
        """The embedding of a picture for a prompt, by the prior."""
        return self.embeddings([prompt], [seed], settings)

    def blend(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:  # type: ignore[override]
        """The great circle between two embeddings."""
        return slerp(a, b, fraction)

    def draw_conditioned(  # type: ignore[override]
        self, cond: Tensor, seeds: Sequence[Seed], settings: UnclipSettings, *, start: Tensor | None = None
    ) -> Iterator[Frame]:
        """Draw pictures of embeddings."""
        return self.draw_embeddings(cond, seeds, settings, start=start)

    def invert(self, pixels: Tensor, settings: UnclipSettings) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The embedding of a picture, and the noise that the decoder turns into it. pixels: (1, H, W, C) uint8."""
        x0 = to_model(pixels.to(self.device))
        z = self.embed_pictures(x0)
        levels = levels_of(
            self.schedule, time_grid(self.schedule, settings.steps, settings.spacing, shift=settings.shift)
        )
        unguided = self.codec.bounded(self.denoiser())
        return z, ddim_inversion(unguided, x0, self.of_embeddings(z), levels)

    def blend_points(  # type: ignore[override]
        self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], fraction: float
    ) -> tuple[Tensor, Tensor]:
        """The great circles between the embeddings and between the noises."""
        noise = slerp(a[1].flatten(1), b[1].flatten(1), fraction).view_as(a[1])
        return slerp(a[0], b[0], fraction), noise

    def draw_point(self, point: tuple[Tensor, Tensor], settings: UnclipSettings) -> Iterator[Frame]:  # type: ignore[override]
        """Draw the picture of an embedding and a noise, by DDIM without guidance."""
        return self.draw_embeddings(point[0], [0], settings.by_ddim(), start=point[1])

    def vary(  # type: ignore[override]
        self,
        pixels: Tensor,
        seeds: Sequence[int],
        settings: UnclipSettings | None = None,
        *,
        strength: float = 1.0,
        prompt: str = "",
    ) -> Iterator[Frame]:
        """Draw pictures of the embedding of a picture: what CLIP sees stays, the rest is drawn anew.

        Source: Ramesh et al. 2022, section 3.1. strength: how far the noise is from that of the picture, by inversion.
        prompt: turns the embedding half of the way to that of the prompt.
        """
        settings = settings or UnclipSettings()
        z, noise = self.invert(pixels, settings)
        if prompt:
            z = slerp(z, self.embeddings([prompt], seeds[:1], settings), 0.5)
        fresh = batch_normal(noise.shape[1:], seeds, VARYING).to(self.device)
        start = slerp(noise.flatten(1).expand(len(seeds), -1), fresh.flatten(1), strength).view_as(fresh)
        return self.draw_embeddings(z.expand(len(seeds), -1), seeds, settings, start=start)

    def edit(
        self,
        pixels: Tensor,
        without: str,
        with_: str,
        seeds: Sequence[int],
        settings: UnclipSettings | None = None,
        *,
        strength: float = 0.35,
    ) -> Iterator[Frame]:
        """Draw a picture with its embedding turned towards the difference of two prompts.

        Source: Ramesh et al. 2022, section 3.3; strengths of 0.25 to 0.5 there. Arguments as of `exploration.Edits`.
        """
        settings = settings or UnclipSettings()
        z, noise = self.invert(pixels, settings)
        texts = self.clip.embed_words([without, with_])
        z = slerp(z, F.normalize(texts[1:] - texts[:1], dim=-1), strength)
        start = noise.expand(len(seeds), *noise.shape[1:]) if len(seeds) == 1 else None
        return self.draw_embeddings(z.expand(len(seeds), -1), seeds, settings, start=start)
