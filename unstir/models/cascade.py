"""Imagen: a frozen text encoder, a diffusion model that draws small pictures, and stages that enlarge them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion.denoiser import Denoiser, NetworkDenoiser, noised, per_picture
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import guide, one_by_one
from unstir.diffusion.noise import Seed, batch_normal
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.sampler import levels_of
from unstir.diffusion.schedule import logsnr, named_schedule
from unstir.diffusion.time_distribution import LogitNormal
from unstir.models.clip import Clip, ClipConfig
from unstir.models.codec import PixelCodec
from unstir.models.diffusion import SMALLEST_SIGMA, sampler_of
from unstir.models.generative import Frame, NotFinite, Pixels
from unstir.models.pixels import to_model
from unstir.models.pretrained_text import PretrainedText, PretrainedTextConfig
from unstir.models.process_group import process_group
from unstir.nn.embed import LevelEmbedding
from unstir.nn.frozen_text import FrozenTextAdapter, FrozenTextConfig
from unstir.nn.text import TextEncoding
from unstir.nn.transformer import compile_blocks
from unstir.nn.unet import UNet, UNetConfig
from unstir.settings import CascadeSettings
from unstir.text.tokenizer import Tokenizer

ENLARGING = 16
"""Streams of the noise of the stages that enlarge begin here; there are two for each."""

ENLARGING_ROWS = 4
"""Stages that enlarge are trained on every fourth picture of a batch: they cost as much as the first one, learn what is
local, and are ready long before it."""

LARGEST_AUGMENTATION = 0.9
"""Of the noise levels that the smaller picture has in training."""


@dataclass(frozen=True)
class CascadeConfig:
    """The architecture.

    networks: one for each stage, from the smallest pictures to the largest. Those after the first have twice the
        channels of a picture: the noisy picture, and the smaller one enlarged.
    text: on top of the frozen text encoder.
    encoder: the frozen text encoder: that of a CLIP, or a published one.
    sigma_data: standard deviation of the pictures in [-1, 1].
    t_mean, t_std: as of `DiffusionConfig`, for the first stage; the others are trained at higher signal levels.
    ValueError for networks whose sizes or channels do not follow each other.
    """

    networks: tuple[UNetConfig, ...]
    text: FrozenTextConfig
    encoder: ClipConfig | PretrainedTextConfig
    sigma_data: float = 0.5
    t_mean: float = 0.4
    t_std: float = 1.0

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("a cascade needs one network or more")
        channels = self.networks[0].channels
        for smaller, larger in zip(self.networks, self.networks[1:], strict=False):
            if larger.size % smaller.size or larger.size == smaller.size or larger.channels != 2 * channels:
                raise ValueError(
                    f"a stage of {larger.size} pixels and {larger.channels} channels cannot follow one of "
                    f"{smaller.size} pixels; its size must be a multiple and its channels {2 * channels}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the finished pictures."""
        side = self.networks[-1].size
        return self.networks[0].channels, side, side

    def with_encoder(self, encoder: ClipConfig | PretrainedTextConfig) -> "CascadeConfig":
        """This configuration for another text encoder."""
        width = encoder.text.width if isinstance(encoder, ClipConfig) else encoder.width
        return replace(self, encoder=encoder, text=replace(self.text, features=width))

    def for_tokens(self, longest: int) -> "CascadeConfig":
        """This configuration for texts of so many tokens. ValueError where the text encoder reads fewer."""
        if isinstance(self.encoder, ClipConfig):
            return self  # its length is that of its positions
        length = max(32, math.ceil(longest / 16) * 16)
        if longest <= self.encoder.longest:
            length = min(length, self.encoder.longest)
        return replace(self, encoder=replace(self.encoder, length=length))


class CascadeBatch(NamedTuple):
    """x0: (B, C, S, S) at the largest size.  ids: (B, L) tokens of the captions."""

    x0: Tensor
    ids: Tensor


class Enlarging(NamedTuple):
    """The conditioning of a stage that enlarges.

    words: the text.
    small: (B, C, S, S), the smaller picture, enlarged and with noise.
    level: (B,), the logsnr of that noise.
    """

    words: TextEncoding
    small: Tensor
    level: Tensor

    def one(self, i: int) -> "Enlarging":
        """Row i alone."""
        return Enlarging(self.words.one(i), self.small[i : i + 1], self.level[i : i + 1])


class Stage(nn.Module):
    """One diffusion model of the cascade.

    text: of its own, on top of the frozen encoder.
    level: of the noise on the smaller picture; None in the first stage.
    """

    def __init__(self, config: CascadeConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        self.text = FrozenTextAdapter(config.text)
        self.network = UNet(config.networks[index])
        self.level = LevelEmbedding(config.text.width) if index else None

    def forward(self, xt: Tensor, level: Tensor, cond: Any) -> Tensor:
        """The prediction of the picture. cond: a TextEncoding in the first stage, else `Enlarging`."""
        if not isinstance(cond, Enlarging):
            out: Tensor = self.network(xt, level, cond)
            return out
        assert self.level is not None
        channels = xt.shape[1]
        pooled = cond.words.pooled + self.level(cond.level).to(cond.words.pooled.dtype)
        both = torch.cat([xt, cond.small.to(xt.dtype)], 1)
        predicted: Tensor = self.network(both, level, cond.words._replace(pooled=pooled))[:, :channels]
        # The network predicts what the smaller picture lacks, as far as that is not hidden by noise.
        trust = torch.sigmoid(cond.level)[:, None, None, None]
        return predicted + trust * cond.small.to(predicted.dtype)


class Cascade(nn.Module):
    """A `GenerativeModel` of several diffusion models, each for one size.

    A stage that enlarges sees the smaller picture with noise of a random level, and is told the level. When it draws,
    this noise hides the errors of the stage before.
    Source: Saharia et al. 2022 (Imagen); Ho et al. 2022 (cascaded diffusion), section 3, for the noise.
    """

    def __init__(self, config: CascadeConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        encoder = config.encoder
        self.encoder: Clip | PretrainedText = (
            Clip(encoder, tokenizer) if isinstance(encoder, ClipConfig) else PretrainedText(encoder, tokenizer)
        )
        self.encoder.requires_grad_(False)
        self.stages = nn.ModuleList(Stage(config, index) for index in range(len(config.networks)))
        self.codec = PixelCodec()
        self.schedule = named_schedule("flow")
        self.prediction = Prediction("x0", config.sigma_data)
        self.loss_space = Prediction("velocity", config.sigma_data)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return next(self.stages.parameters()).device

    @torch.no_grad()
    def adopt(self, encoder: Clip | PretrainedText) -> None:
        """Take over the weights of a text encoder of the same configuration."""
        self.encoder.load_state_dict(encoder.state_dict())

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """One part for each size."""
        return {f"{network.size} px": stage for network, stage in zip(self.config.networks, self.stages, strict=True)}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile each kind of block with torch."""
        compile_blocks(self)

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> CascadeBatch:
        """uint8 (B, H, W, C), straight alpha, and B captions -> a batch on the model's device."""
        return CascadeBatch(to_model(pixels.to(self.device)), self.tokenize(captions))

    def losses(self, batch: CascadeBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """The error of every stage, the smallest first. rng: in the same state in all processes."""
        group = process_group()
        total = len(batch.x0) * group.size
        rows = group.rows(total)
        # Counted over the whole batch, so that the number of processes changes nothing.
        some = slice(-rows.start % ENLARGING_ROWS, None, ENLARGING_ROWS)
        for index, name in enumerate(self.parts()):
            real = self._at(batch.x0, index)
            # Larger pictures need more noise to hide as much, and the smaller picture tells the coarse part.
            times = LogitNormal(self.config.t_mean if index == 0 else -0.4, self.config.t_std)
            t = times.sample(total, rng, rows)
            eps = torch.randn(total, *real.shape[1:], generator=rng, device=real.device)[rows]
            if not index:
                yield name, self._error(index, real, self.words(batch.ids, index), t, eps).mean()
                continue
            s = LARGEST_AUGMENTATION * torch.rand(total, generator=rng, device=real.device)[rows]
            noise = torch.randn(total, *real.shape[1:], generator=rng, device=real.device)[rows]
            kept = some if total % (ENLARGING_ROWS * group.size) == 0 else slice(None)
            small = self._at(batch.x0[kept], index - 1)
            cond = self._shown(self.words(batch.ids[kept], index), small, s[kept], noise[kept])
            yield name, self._error(index, real[kept], cond, t[kept], eps[kept]).mean()

    def _error(self, index: int, real: Tensor, cond: Any, t: Tensor, eps: Tensor) -> Tensor:
        xt = noised(real, eps, t, self.schedule)
        x0 = self.denoiser(index)(xt, t, cond)
        alpha = per_picture(self.schedule.alpha(t), xt)
        sigma = per_picture(self.schedule.sigma(t), xt).clamp(min=SMALLEST_SIGMA)
        _, b = self.loss_space.line(alpha, sigma)
        return ((x0 - real) / b).square().flatten(1).mean(1)

    def _at(self, x0: Tensor, index: int) -> Tensor:
        """Pictures of the largest size at that of a stage: each pixel the mean of those that it stands for."""
        factor = self.config.networks[-1].size // self.config.networks[index].size
        return F.avg_pool2d(x0, factor) if factor > 1 else x0

    def _shown(self, words: TextEncoding, small: Tensor, s: Tensor, noise: Tensor) -> Enlarging:
        """The conditioning of a stage: the smaller pictures, enlarged first, with noise of level s in [0, 1).

        small: (B, C, s, s).  s: (B,).  noise: (B, C, S, S).
        """
        large = F.interpolate(small, size=noise.shape[-2:], mode="bilinear", align_corners=False)
        return Enlarging(words, noised(large, noise, s, self.schedule), self._level(s))

    def _level(self, s: Tensor) -> Tensor:
        return logsnr(self.schedule, s.double().clamp(1e-4, 1)).clamp(-10.0, 10.0).float()

    def denoiser(self, index: int) -> NetworkDenoiser:
        """The network of a stage as a function (xt, t, cond) -> x0."""
        return NetworkDenoiser(self.stages[index], self.schedule, self.prediction, (-8.0, 10.0))

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return self.encoder.tokenize(texts)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.encoder.tokenize([prompt])

    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """The vectors of texts by the frozen encoder, (B, width)."""
        return self.encoder.embed_words(texts)

    def words(self, ids: Tensor, index: int) -> TextEncoding:
        """The conditioning of a stage. ids: (B, L)."""
        with torch.no_grad():
            features, real = self.encoder.token_vectors(ids)
        out: TextEncoding = self.stages[index].text(features, real)  # type: ignore[operator]
        return out

    # Drawing

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: CascadeSettings | None = None,
        *,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures: the denoising steps of every stage, one frame each. See `GenerativeModel.draw`."""
        self.check_prompts(prompts)
        with torch.no_grad():
            cond = [
                TextEncoding.joined([self.words(self.tokenize([prompt]), index) for prompt in prompts])
                for index in range(len(self.stages))
            ]
        return self.draw_conditioned(cond, seeds, settings or CascadeSettings(), exact=exact)

    # Exploration (`models.exploration`)

    @torch.no_grad()
    def conditioning(self, prompt: str, seed: int, settings: CascadeSettings) -> list[TextEncoding]:  # noqa: ARG002
        """The encoding of a prompt for every stage. seed, settings: not used."""
        return [self.words(self.tokenize([prompt]), index) for index in range(len(self.stages))]

    def blend(self, a: list[TextEncoding], b: list[TextEncoding], fraction: float) -> list[TextEncoding]:
        """The straight line between the vectors of two prompts."""
        return [x.towards(y, fraction) for x, y in zip(a, b, strict=True)]

    def draw_conditioned(
        self, cond: list[TextEncoding], seeds: Sequence[Seed], settings: CascadeSettings, *, exact: bool = True
    ) -> Iterator[Frame]:
        """Draw pictures of prompts encoded for every stage. ValueError for settings that do not fit together."""
        if settings.size not in (None, self.shape[1]):
            raise ValueError(f"a cascade draws pictures of {self.shape[1]} pixels only; omit size")
        sampler = sampler_of(settings)
        grids = [
            levels_of(self.schedule, time_grid(self.schedule, steps, settings.spacing, shift=settings.shift))
            for steps in [settings.steps, *[settings.enlarging_steps] * (len(self.stages) - 1)]
        ]
        self.codec.bounded(self.denoiser(0), settings.threshold)  # ValueError before anything is drawn
        total = sum(settings.frames(len(levels) - 1) for levels in grids)

        @torch.no_grad()
        def frames() -> Iterator[Frame]:
            small: Tensor | None = None
            done = 0
            for index, levels in enumerate(grids):
                side = self.config.networks[index].size
                shape = (self.shape[0], side, side)
                stream = 0 if index == 0 else ENLARGING + 2 * index

                def noise(step: int, shape: Any = shape, stream: int = stream) -> Tensor:
                    return batch_normal(shape, seeds, step, stream).to(self.device)

                denoise, given = self._guided(index, cond[index], seeds, small, settings, exact)
                for step in sampler(denoise, noise(0) * levels[0].sigma, given, levels, noise):
                    if not step.x0.isfinite().all():
                        raise NotFinite(
                            f"stage {side} px gives NaN or infinity instead of a picture: lower the guidance"
                        )
                    enlarged = partial(self._enlarged, step.x0), partial(self._enlarged, step.xt)
                    yield Frame(done, total, *enlarged, step.t)
                    done += 1
                small = step.x0

        return frames()

    def _enlarged(self, x: Tensor) -> Pixels:
        """Pictures of any stage at the largest size, without smoothing."""
        made = self.codec.decode(x)
        factor = self.shape[1] // made.shape[1]
        return made.repeat(factor, axis=1).repeat(factor, axis=2)

    def _guided(
        self,
        index: int,
        words: TextEncoding,
        seeds: Sequence[Seed],
        small: Tensor | None,
        settings: CascadeSettings,
        exact: bool,
    ) -> tuple[Denoiser, Any]:
        """The denoiser of a stage with guidance and thresholding, and its conditioning."""
        null = self.words(self.tokenize([settings.negative]), index)
        cond: Any = words
        split: Callable[[Any, int], Any] = TextEncoding.one
        join: Callable[[Any, Any], Any] = _join_texts
        if small is not None:
            side = self.config.networks[index].size
            noise = batch_normal((self.shape[0], side, side), seeds, 0, ENLARGING + 2 * index + 1).to(self.device)
            s = torch.full((len(small),), settings.augmentation, device=self.device)
            cond = self._shown(words, small, s, noise)
            split, join = Enlarging.one, _join_enlarging
        denoise = guide(self.denoiser(index), null, settings.guidance_scale, interval=settings.interval, join=join)
        denoise = self.codec.bounded(denoise, settings.threshold)
        return (one_by_one(denoise, split) if exact else denoise), cond


def _join_texts(words: TextEncoding, null: TextEncoding) -> TextEncoding:
    return words.join(null.repeat(len(words.tokens)))


def _join_enlarging(cond: Enlarging, null: TextEncoding) -> Enlarging:
    words = _join_texts(cond.words, null)
    return Enlarging(words, torch.cat([cond.small, cond.small]), torch.cat([cond.level, cond.level]))
