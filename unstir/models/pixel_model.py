"""Autoregressive models of pixels: exact likelihood by the chain rule, drawing pixel by pixel.

What is common to PixelCNN and PixelRNN: the grid of levels, the distribution of a pixel, the words, the loss, the
likelihood, and drawing. The network says what the pixels before a position mean for it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unstir.diffusion.noise import Seed, batch_uniform
from unstir.models.generative import Frame, NotFinite, Pixels
from unstir.models.levels import escape_nats, level_pixels, stored_values, to_levels
from unstir.models.logistic_mixture import PixelMixture, drawn_levels, mixture_numbers, pixel_mixture
from unstir.models.process_group import process_group
from unstir.nn.shifted_conv import PixelCache
from unstir.nn.text import TextConfig, TextEncoder
from unstir.settings import PixelSettings
from unstir.text.tokenizer import Tokenizer

NOT_FINITE = "the network gives NaN or infinity instead of pixels: train it with a lower learning rate"


@dataclass(frozen=True)
class PixelModelConfig:
    """What every autoregressive model of pixels is made of.

    size, channels: of the pictures.
    text: the text encoder.
    levels: of a value, evenly spaced from black to white; digits have 17.
    grey: the three channels of the pictures are equal, and one is modelled.
    components: of the mixture of logistics.
    dropout: fraction of the activations that are dropped in training.
    ValueError for values out of range.
    """

    size: int
    channels: int
    text: TextConfig
    levels: int = 256
    grey: bool = False
    components: int = 10
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise ValueError(f"levels must be 2 to 256, got {self.levels}")
        if self.grey and self.channels != 3:
            raise ValueError(f"grey pictures are stored with 3 channels, got {self.channels}")
        if self.components < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"components must be 1 or more and dropout 0 to 1, got {self.components}, {self.dropout}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.channels, self.size, self.size

    @property
    def modelled(self) -> int:
        """Channels that are modelled."""
        return 1 if self.grey else self.channels

    @property
    def outside(self) -> int:
        """Numbers that the network gives for each pixel."""
        return mixture_numbers(self.modelled, self.components)


class PixelBatch(NamedTuple):
    """numbers: (B, C, S, S) int64, levels of the modelled channels.  ids: (B, L) tokens of the captions."""

    numbers: Tensor
    ids: Tensor


class PixelModel(nn.Module):
    """A `GenerativeModel` and `LikelihoodModel` that draws pixels from top to bottom and from left to right.

    network: a module (x, vector, drop) -> (B, S, S, config.outside), whose output at a pixel depends on the pixels
        before it; its `cache(vector)` gives a `PixelCache`. Set by the class of the kind.
    """

    network: Any

    def __init__(self, config: PixelModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.text = TextEncoder(config.text)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """One part, the whole model."""
        return {"main": self}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> PixelBatch:
        """uint8 (B, H, W, C), straight alpha, and B captions -> a batch on the model's device."""
        stored = stored_values(pixels.to(self.device))
        return PixelBatch(to_levels(stored, self.config.levels, self.config.grey), self.tokenize(captions))

    def losses(self, batch: PixelBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the bits per dimension, as of `picture_bits`). rng: in the same state in all processes."""
        drop = partial(dropout_mask, fraction=self.config.dropout, rng=rng)
        dropping = self.training and self.config.dropout > 0
        mixture, x = self.mixture(batch, drop if dropping else None)
        yield "main", -mixture.log_probability(x).sum((1, 2)).mean() / (math.prod(self.shape) * math.log(2))

    def mixture(self, batch: PixelBatch, drop: Any = None) -> tuple[PixelMixture, Tensor]:
        """The distribution of every pixel given those before it, and the values that the pixels have.

        Returns a mixture with leading dimensions (B, S, S), and (B, S, S, C) in [-1, 1].
        """
        x = self.values(batch.numbers)
        numbers = self.network(x, self.text(batch.ids).pooled, drop)
        return self.mixture_of(numbers), x.movedim(1, -1)

    def mixture_of(self, numbers: Tensor) -> PixelMixture:
        """The distributions that numbers of the network stand for. numbers: (..., outside)."""
        config = self.config
        exact = numbers if numbers.dtype == torch.float64 else numbers.float()
        return pixel_mixture(exact, config.modelled, config.components, config.levels)

    def values(self, numbers: Tensor) -> Tensor:
        """Levels as values in [-1, 1], of the dtype of the weights, float32 at least."""
        dtype = torch.promote_types(self.text.position.dtype, torch.float32)
        return numbers.to(dtype) * (2 / (self.config.levels - 1)) - 1

    # Likelihood

    @torch.no_grad()
    def picture_bits(self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int]) -> Iterator[float]:  # noqa: ARG002
        """The bits per dimension of each picture, exactly; see `LikelihoodModel`. seeds: not used.

        This is -log2 p(picture) divided by the number of *stored* values, H·W·C, as for every other kind of model, so
        that kinds can be compared on the same pictures. Of grey pictures one channel of three is modelled, since the
        other two are known then; a grey value needs three times as many bits as this, and that is what the literature
        counts.
        """
        for row, caption in enumerate(captions):
            batch = self.batch(pixels[row : row + 1], [caption])
            escape = escape_nats(stored_values(pixels[row : row + 1]), self.config.levels, self.config.grey)
            nats = escape.item() - self.log_likelihood(batch).item()
            yield nats / (math.prod(self.shape) * math.log(2))

    def log_likelihood(self, batch: PixelBatch) -> Tensor:
        """log p of the levels of each picture, (B,) float64, in nats."""
        mixture, x = self.mixture(batch)
        return mixture.log_probability(x).double().sum((1, 2))

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.tokenizer.encode([prompt], self.config.text.length)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The pooled vectors of prompts, each encoded alone. Returns (B, text width)."""
        return torch.cat([self.text(self.tokenize([prompt])).pooled for prompt in prompts])

    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """One vector for each text, (B, width)."""
        return self.encode(texts).float()

    # Drawing

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: PixelSettings | None = None,
        *,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures; a frame is a row of pixels. Arguments and errors as of `GenerativeModel.draw`."""
        return self.draw_conditioned(self.encode(prompts), seeds, settings or PixelSettings(), exact=exact)

    def draw_conditioned(
        self,
        cond: Tensor,
        seeds: Sequence[Seed],
        settings: PixelSettings,
        *,
        exact: bool = True,
        known: Tensor | None = None,
    ) -> Iterator[Frame]:
        """Draw pictures of pooled vectors.

        cond: (B, text width).
        known: (B, C, rows, S) int64, the levels of the first rows, which are taken as they are.
        """
        if exact and len(seeds) > 1:
            # Each picture by itself, and the frames of all side by side.
            rows = range(len(seeds))
            given = [None if known is None else known[i : i + 1] for i in rows]
            alone = [self._rows(cond[i : i + 1], [seeds[i]], settings, given[i]) for i in rows]
            drawn: Iterator[Tensor] = (torch.cat(one) for one in zip(*alone, strict=True))
        else:
            drawn = self._rows(cond, seeds, settings, known)
        size = self.config.size
        return (Frame(i, size, partial(self._pixels, numbers, i + 1)) for i, numbers in enumerate(drawn))

    @torch.no_grad()
    def _rows(
        self, cond: Tensor, seeds: Sequence[Seed], settings: PixelSettings, known: Tensor | None
    ) -> Iterator[Tensor]:
        """The levels drawn so far, (B, C, S, S), after every row."""
        config, count = self.config, len(seeds)
        guided = settings.guidance_scale != 1
        vector = torch.cat([cond, self.encode([""]).expand(count, -1)]) if guided else cond
        cache: PixelCache = self.network.cache(vector)
        shape = (config.modelled, config.size, config.size)
        uniform = batch_uniform(shape, seeds, 0)
        numbers = torch.zeros(count, *shape, dtype=torch.int64, device=self.device)
        first = 0 if known is None else known.shape[2]
        if known is not None:
            numbers[:, :, :first] = known
        for row in range(config.size):
            for column in range(config.size):
                found = cache.numbers(row, column)  # also where the pixel is known: it fills the cache
                if row >= first:
                    numbers[:, :, row, column] = self._pixel(found, uniform[:, :, row, column], settings)
                values = self.values(numbers[:, :, row, column])
                cache.write(row, column, values.repeat(len(vector) // count, 1))
            yield numbers.clone()

    def _pixel(self, found: Tensor, uniform: Tensor, settings: PixelSettings) -> Tensor:
        """Draw one pixel, channel after channel.

        found: (B, outside), what the network says of it; with guidance (2·B, outside), the empty prompt last.
        uniform: (B, C), float64 in (0, 1).
        Returns (B, C) int64.
        """
        count = len(uniform)
        mixture = self.mixture_of(found)
        drawn = torch.zeros(count, 0, dtype=torch.int64, device=self.device)
        for channel in range(self.config.modelled):
            earlier = self.values(drawn).repeat(len(mixture.logits) // count, 1).to(mixture.means.dtype)
            log_probabilities = mixture.channel_log_probabilities(earlier)
            if not log_probabilities.isfinite().all():
                raise NotFinite(
                    "the network gives NaN or infinity instead of pixels: train it with a lower learning rate"
                )
            if len(log_probabilities) > count:
                # Classifier-free guidance of log probabilities, value by value.
                given, empty = log_probabilities.split(count)  # type: ignore[no-untyped-call]
                log_probabilities = empty + settings.guidance_scale * (given - empty)
            level = drawn_levels(log_probabilities, uniform[:, channel], settings.temperature)
            drawn = torch.cat([drawn, level[:, None]], dim=1)
        return drawn

    def _pixels(self, numbers: Tensor, rows: int) -> Pixels:
        """Pictures of the first rows; the others are grey, or transparent where there is transparency."""
        config = self.config
        pixels: Pixels = level_pixels(numbers, config.levels, config.channels).cpu().numpy()
        pixels[:, rows:] = 0 if config.channels == 4 else 128
        return pixels

    # Exploration (`models.exploration`)

    def conditioning(self, prompt: str, seed: int, settings: PixelSettings) -> Tensor:  # noqa: ARG002
        """The pooled vector of a prompt. seed, settings: not used."""
        return self.encode([prompt])

    def blend(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """The straight line between two vectors."""
        return torch.lerp(a, b, fraction)

    def vary(
        self,
        pixels: Tensor,
        seeds: Sequence[int],
        settings: PixelSettings | None = None,
        *,
        strength: float,
        prompt: str = "",
    ) -> Iterator[Frame]:
        """Draw completions: the upper rows are kept, the lower fraction `strength` of them drawn anew."""
        count = len(seeds)
        kept = self.config.size - round(strength * self.config.size)
        numbers = self.batch(pixels, [prompt]).numbers[:, :, :kept].expand(count, -1, -1, -1)
        cond = self.encode([prompt]).expand(count, -1)
        return self.draw_conditioned(cond, seeds, settings or PixelSettings(), known=numbers)


def dropout_mask(shape: tuple[int, int, int, int], dtype: torch.dtype, fraction: float, rng: torch.Generator) -> Tensor:
    """What to multiply a feature map with, so that a fraction of it becomes 0 and its mean stays.

    shape: (B, C, h, w) of this process; the random numbers are drawn for all processes together.
    fraction: rounded to a multiple of 1/256.
    """
    group = process_group()
    b, c, h, w = shape
    each = -(-c * h * w // 8)  # one random integer is eight bytes: random numbers would else take a sixth of a step
    words = torch.randint(-(2**63), 2**63 - 1, (b * group.size, each), generator=rng, device=rng.device)
    dropped = round(fraction * 256)
    kept = words[group.rows(len(words))].view(torch.uint8)[:, : c * h * w] >= dropped
    # As the feature maps lie in memory, channels last.
    return (kept.to(dtype) * (256 / (256 - dropped))).view(b, h, w, c).permute(0, 3, 1, 2)
