"""VQ-VAE: pictures as a grid of codes, and a transformer that draws the codes from words.

`CodeModel` draws them one after the other (autoregressive); `MaskedCodeModel` many at once, in a few steps (MaskGIT).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.noise import Seed, batch_gumbel
from unstir.models.autoencoder import Autoencoder, AutoencoderConfig, KlConfig
from unstir.models.generative import Frame, NotFinite, Pixels
from unstir.models.process_group import process_group
from unstir.models.quantise import Quantiser
from unstir.nn.code_transformer import CodeTransformer, CodeTransformerConfig
from unstir.nn.text import TextConfig, TextEncoder, TextEncoding
from unstir.nn.transformer import compile_blocks
from unstir.settings import CodeSettings, MaskedCodeSettings
from unstir.text.tokenizer import Tokenizer

SMOOTHING = 0.1
"""Label smoothing of the masked model. Source: Chang et al. 2022, the published code."""


@dataclass(frozen=True)
class CodeModelConfig:
    """The architecture.

    network: the transformer over the codes.
    text: the text encoder.
    autoencoder: gives the codes; its bottleneck is quantised.
    ValueError where the transformer does not fit the codes.
    """

    network: CodeTransformerConfig
    text: TextConfig
    autoencoder: AutoencoderConfig

    def __post_init__(self) -> None:
        if isinstance(self.autoencoder.bottleneck, KlConfig):
            raise ValueError("this kind of model needs an autoencoder whose bottleneck is quantised, and it is not")
        side = self.autoencoder.latent_shape[1]
        if (self.network.side, self.network.codes) != (side, self.autoencoder.bottleneck.codes):
            raise ValueError(
                f"the transformer has {self.network.side} codes a side of {self.network.codes}, and the autoencoder "
                f"{side} of {self.autoencoder.bottleneck.codes}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.autoencoder.shape

    def with_autoencoder(self, autoencoder: AutoencoderConfig) -> "CodeModelConfig":
        """This configuration for another autoencoder."""
        if isinstance(autoencoder.bottleneck, KlConfig):
            raise ValueError("this kind of model needs an autoencoder whose bottleneck is quantised, and it is not")
        side, codes = autoencoder.latent_shape[1], autoencoder.bottleneck.codes
        return replace(self, autoencoder=autoencoder, network=replace(self.network, side=side, codes=codes))


@dataclass(frozen=True)
class MaskedCodeModelConfig(CodeModelConfig):
    """As `CodeModelConfig`, for drawing in parallel."""


class CodeBatch(NamedTuple):
    """codes: (B, side²) int64, row by row.  ids: (B, L) tokens of the captions."""

    codes: Tensor
    ids: Tensor


class CodeModel(nn.Module):
    """A `GenerativeModel` that draws the codes of a picture row by row."""

    codec: Autoencoder
    causal = True

    def __init__(self, config: CodeModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.codec = Autoencoder(config.autoencoder).frozen()
        self.text = TextEncoder(config.text)
        self.network = CodeTransformer(config.network, self.causal)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def quantiser(self) -> Quantiser:
        """Of the autoencoder."""
        assert self.codec.quantiser is not None
        return self.codec.quantiser

    @torch.no_grad()
    def adopt(self, autoencoder: Autoencoder) -> None:
        """Take over the weights of an autoencoder of the same configuration."""
        self.codec.load_state_dict(autoencoder.state_dict())

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """Everything but the codec."""
        return {"main": nn.ModuleDict({"text": self.text, "network": self.network})}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile each kind of block with torch."""
        compile_blocks(self)

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> CodeBatch:
        """uint8 (B, H, W, C), straight alpha, and B captions -> a batch on the model's device."""
        return self.code_batch(self.codec.codes(pixels), captions)

    def code_batch(self, codes: Tensor, captions: Sequence[str]) -> CodeBatch:
        """A batch of codes that are known. codes: (B, side, side) int64."""
        return CodeBatch(codes.to(self.device).flatten(1), self.tokenize(captions))

    def losses(self, batch: CodeBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean cross-entropy of a code in nats). rng: in the same state in all processes."""
        given = self._corrupted(batch.codes, rng)
        logits = self.logits(given, self.text(batch.ids))
        yield "main", F.cross_entropy(logits.float().flatten(0, 1), batch.codes.flatten())

    def _corrupted(self, codes: Tensor, rng: torch.Generator) -> Tensor:
        """Codes as input, some replaced by random ones (`CodeTransformerConfig.dropout`)."""
        dropout = self.config.network.dropout
        if not dropout or not self.training:
            return codes
        group = process_group()
        shape = (len(codes) * group.size, codes.shape[1])
        rows = group.rows(shape[0])
        hit = torch.rand(shape, generator=rng, device=codes.device)[rows] < dropout
        other = torch.randint(self.config.network.codes, shape, generator=rng, device=codes.device)[rows]
        return torch.where(hit, other, codes)

    def logits(self, codes: Tensor, words: TextEncoding) -> Tensor:
        """The logits of every code given those before it and the text.

        codes: (B, side²) int64.
        Returns (B, side², codes); row i depends on the codes 0 … i-1.
        """
        start = torch.full_like(codes[:, :1], self.network.special)
        out: Tensor = self.network(torch.cat([start, codes[:, :-1]], 1), words)
        return out

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.tokenizer.encode([prompt], self.config.text.length)

    @torch.no_grad()
    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """One vector for each text, (B, width)."""
        return torch.cat([self.text(self.tokenize([text])).pooled for text in texts]).float()

    # Drawing

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: CodeSettings | None = None,
        *,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures; a frame is a row of codes, or of the masked model a step. See `GenerativeModel.draw`."""
        settings = settings or self._usual_settings()
        self.check_prompts(prompts)
        with torch.no_grad():
            words = TextEncoding.joined([self.text(self.tokenize([prompt])) for prompt in prompts])
        return self.draw_conditioned(words, seeds, settings, exact=exact)

    def draw_conditioned(
        self, cond: TextEncoding, seeds: Sequence[Seed], settings: CodeSettings, *, exact: bool = True
    ) -> Iterator[Frame]:
        """Draw pictures of encoded prompts."""
        if exact and len(seeds) > 1:
            # Each picture by itself, and the frames of all side by side.
            alone = [self.draw_conditioned(cond.one(i), [seed], settings) for i, seed in enumerate(seeds)]
            return (_side_by_side(list(frames)) for frames in zip(*alone, strict=True))
        return self._frames(cond, seeds, settings)

    # Exploration (`models.exploration`)

    @torch.no_grad()
    def conditioning(self, prompt: str, seed: int, settings: CodeSettings) -> TextEncoding:  # noqa: ARG002
        """The encoding of a prompt. seed, settings: not used."""
        out: TextEncoding = self.text(self.tokenize([prompt]))
        return out

    def blend(self, a: TextEncoding, b: TextEncoding, fraction: float) -> TextEncoding:
        """The straight line between the vectors of two prompts."""
        return a.towards(b, fraction)

    def _usual_settings(self) -> CodeSettings:
        return CodeSettings()

    def _frames(self, cond: TextEncoding, seeds: Sequence[Seed], settings: CodeSettings) -> Iterator[Frame]:
        words = self._guided_words(cond, settings)
        side = self.config.network.side
        codes = torch.zeros(len(seeds), side * side, dtype=torch.int64, device=self.device)
        caches = self.network.new_caches()
        token = torch.full((len(seeds),), self.network.special, device=self.device)
        for row in range(side):
            with torch.no_grad():
                for position in range(row * side, (row + 1) * side):
                    fed = token.repeat(len(words.tokens) // len(seeds))
                    logits = self._guided(self.network.step(fed, position, words, caches), len(seeds), settings)
                    token = drawn_code(logits, seeds, position, settings)
                    codes[:, position] = token
            known = torch.arange(side * side, device=self.device) < (row + 1) * side
            yield self._frame(row, side, codes.clone(), known.expand_as(codes))

    @torch.no_grad()
    def _guided_words(self, cond: TextEncoding, settings: CodeSettings) -> TextEncoding:
        """The texts; with guidance the empty text as often again."""
        if settings.guidance_scale == 1:
            return cond
        return cond.join(self.text(self.tokenize([""])).repeat(len(cond.tokens)))

    def _guided(self, logits: Tensor, count: int, settings: CodeSettings) -> Tensor:
        """Classifier-free guidance of log probabilities. logits: (count or 2·count, ..., codes)."""
        logits = logits.float().log_softmax(-1)
        if not logits.isfinite().all():
            raise NotFinite("the network gives NaN or infinity instead of codes: train it with a lower learning rate")
        if len(logits) == count:
            return logits
        given, empty = logits.split(count)  # type: ignore[no-untyped-call]
        guided: Tensor = empty + settings.guidance_scale * (given - empty)
        return guided

    def _frame(self, i: int, total: int, codes: Tensor, known: Tensor) -> Frame:
        return Frame(i, total, partial(self.decoded, codes, known), partial(code_picture, codes, known, self))

    @torch.no_grad()
    def decoded(self, codes: Tensor, known: Tensor | None = None) -> Pixels:
        """Pictures of codes. codes: (B, side²).  known: (B, side²) bool; the latents of others are 0."""
        side = self.config.network.side
        latent = self.quantiser.latent(codes.view(-1, side, side))
        if known is not None:
            latent = latent * known.view(-1, 1, side, side)
        return self.codec.decode(latent)


class MaskedCodeModel(CodeModel):
    """A `GenerativeModel` that draws all codes at once and keeps the surest, in a few steps. Source: MaskGIT."""

    causal = False
    config: MaskedCodeModelConfig

    def losses(self, batch: CodeBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean cross-entropy of a masked code in nats). The masked fraction is cos(πu/2), u uniform."""
        codes, group = batch.codes, process_group()
        total = len(codes) * group.size
        rows = group.rows(total)
        u = torch.rand(total, 1, generator=rng, device=codes.device)[rows]
        order = torch.rand(total, codes.shape[1], generator=rng, device=codes.device)[rows].argsort(1).argsort(1)
        masked = order < (torch.cos(u * math.pi / 2) * codes.shape[1]).ceil()
        logits = self.network(codes.masked_fill(masked, self.network.special), self.text(batch.ids)).float()
        smoothing = SMOOTHING if self.training else 0.0
        errors = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none", label_smoothing=smoothing)
        yield "main", (errors * masked.flatten()).sum() / masked.sum()

    def logits(self, codes: Tensor, words: TextEncoding) -> Tensor:
        """The logits of every code. codes: (B, side²), with `network.special` where a code is not known."""
        out: Tensor = self.network(codes, words)
        return out

    def _usual_settings(self) -> CodeSettings:
        return MaskedCodeSettings()

    def _frames(self, cond: TextEncoding, seeds: Sequence[Seed], settings: CodeSettings) -> Iterator[Frame]:
        assert isinstance(settings, MaskedCodeSettings)
        words = self._guided_words(cond, settings)
        count, mask = self.config.network.side**2, self.network.special
        codes = torch.full((len(seeds), count), mask, device=self.device)
        total = min(settings.steps, count)
        for i in range(total):
            with torch.no_grad():
                fed = codes.repeat(len(words.tokens) // len(seeds), 1)
                logits = self._guided(self.logits(fed, words), len(seeds), settings)
                codes = self._one_step(codes, logits, seeds, i, total, settings)
            known = codes != mask
            yield self._frame(i, total, codes.masked_fill(~known, 0), known)

    def _one_step(
        self, codes: Tensor, logits: Tensor, seeds: Sequence[Seed], i: int, total: int, settings: MaskedCodeSettings
    ) -> Tensor:
        """Draw every unknown code, and forget again those that are the least sure."""
        count, mask = codes.shape[1], self.network.special
        drawn = drawn_code(logits, seeds, 2 * i, settings)
        unknown = codes == mask
        filled = torch.where(unknown, drawn, codes)
        left = math.floor(math.cos(math.pi / 2 * (i + 1) / total) * count)  # 0 in the last step
        sure = logits.log_softmax(-1).double().gather(-1, drawn[..., None])[..., 0]
        noise = batch_gumbel((count,), seeds, 2 * i + 1).to(sure.device)
        sure = sure + settings.choice_temperature * (1 - (i + 1) / total) * noise
        sure = sure.masked_fill(~unknown, torch.inf)
        forgotten = sure.argsort(1).argsort(1) < min(left, int(unknown.sum(1).min()) - 1)
        return filled.masked_fill(forgotten & unknown, mask)


def drawn_code(logits: Tensor, seeds: Sequence[Seed], step: int, settings: CodeSettings) -> Tensor:
    """Draw codes. logits: (B, ..., codes), row i with the noise of seeds[i] and step.  Returns (B, ...) int64."""
    logits = logits.double()
    if settings.top_k:
        least = logits.topk(min(settings.top_k, logits.shape[-1]), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    noise = batch_gumbel(logits.shape[1:], seeds, step).to(logits.device)
    return (logits + settings.temperature * noise).argmax(-1)


def code_picture(codes: Tensor, known: Tensor, model: CodeModel) -> Pixels:
    """Codes as shades of grey, black where they are not known. Returns (B, S, S, C) uint8 of the pictures' size."""
    channels, size, _ = model.shape
    side = model.config.network.side
    shade = 40 + codes.double() / max(model.config.network.codes - 1, 1) * 215
    shade = (shade * known).round().to(torch.uint8).view(-1, side, side)
    large = shade.repeat_interleave(size // side, 1).repeat_interleave(size // side, 2)[..., None]
    grey = large.expand(-1, -1, -1, 3)
    out: Pixels = (torch.cat([grey, torch.full_like(large, 255)], -1) if channels == 4 else grey).cpu().numpy()
    return out


def _side_by_side(frames: Sequence[Frame]) -> Frame:
    """Frames of single pictures as one frame."""
    import numpy as np

    def states() -> Pixels:
        return np.concatenate([frame.state for frame in frames if frame.state is not None])

    first = frames[0]
    return Frame(first.i, first.total, lambda: np.concatenate([frame.picture for frame in frames]), states)
