"""Text-to-image diffusion: a picture network and a text encoder trained together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.diffusion.chain import Bound, bits_per_dim
from unstir.diffusion.denoiser import Denoiser, NetworkDenoiser, noised, per_picture
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import clip_range, guide, one_by_one
from unstir.diffusion.inversion import ddim_inversion
from unstir.diffusion.noise import Seed, batch_normal, slerp
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.sampler import Sampler, Step, levels_of, named_sampler
from unstir.diffusion.samplers.ddim import ddim
from unstir.diffusion.samplers.pc import pc
from unstir.diffusion.schedule import NoiseSchedule, logsnr, named_schedule
from unstir.diffusion.time_distribution import LogitNormal
from unstir.models.codec import Codec, PixelCodec
from unstir.models.generative import Frame, NotFinite
from unstir.models.ode_likelihood import ode_bits_per_dim
from unstir.models.process_group import process_group
from unstir.nn.dit import DiT, DiTConfig
from unstir.nn.embedding_condition import EmbeddingConfig, EmbeddingTokens
from unstir.nn.layout import LayoutConfig, LayoutPredictor, layout_loss, predicted_layout
from unstir.nn.text import TextConfig, TextEncoder, TextEncoding, padding
from unstir.nn.transformer import compile_blocks
from unstir.nn.unet import UNet, UNetConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class DiffusionConfig:
    """The architecture and the loss.

    network: of the picture.
    text: the text encoder.
    schedule, prediction: names (`diffusion.schedule`, `diffusion.prediction`).
    loss: the prediction in whose space the error is measured.
    sigma_data: standard deviation of the pictures in [-1, 1].
    t_mean, t_std: training times are sigmoid(N(t_mean, t_std²)); a higher mean trains more on noise.
    layout: the layout predictor (`nn.layout`), or None.
    """

    network: DiTConfig | UNetConfig
    text: TextConfig
    schedule: str = "flow"
    prediction: str = "x0"
    loss: str = "velocity"
    sigma_data: float = 0.5
    t_mean: float = 0.4
    t_std: float = 1.0
    layout: LayoutConfig | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.network.channels, self.network.size, self.network.size

    def continued(self, start: "DiffusionConfig") -> "DiffusionConfig":
        """This configuration adapted for fine-tuning: schedule, prediction and loss are those of the initial model.

        start: the configuration of the initial model.
        ValueError where the networks or text encoders differ.
        """
        text = replace(self.text, vocabulary=start.text.vocabulary, length=start.text.length)
        if (self.network, text) != (start.network, start.text):
            raise ValueError("the networks or the text encoders differ")
        kept = {name: getattr(start, name) for name in ("text", "schedule", "prediction", "loss", "sigma_data")}
        return replace(self, **kept, layout=start.layout or self.layout)


class Batch(NamedTuple):
    """A training batch.

    x0: (B, C, S, S), in [-1, 1] where they are pixels.
    ids: (B, L) tokens of the captions.
    layout: (B, L, 3), for each token the centre x, y and the scale of the thing that it names, as fractions of the
        side; NaN for tokens that name none. None where the layout is not known.
    """

    x0: Tensor
    ids: Tensor
    layout: Tensor | None = None


class Draw(NamedTuple):
    """The random numbers of one loss.

    t: (B,) times.
    eps: noise in the shape of x0.
    """

    t: Tensor
    eps: Tensor


VARYING = -1
"""Step of the noise of variations, which no step of a sampler has."""

LEVELS = 255
"""The number of steps between the smallest and the largest value of a pixel."""

SMALLEST_SIGMA = 0.05
"""The loss weight 1/b² is held constant below this noise level; otherwise it would grow without bound.

Source: Li and He 2025.
"""


def sampler_of(settings: DiffusionSettings) -> Sampler:
    """The sampler that the settings name, with its own settings."""
    match settings.sampler:
        case "ddim":
            return partial(ddim, eta=settings.eta)
        case "pc":
            return partial(pc, corrector_steps=settings.corrector_steps, corrector_snr=settings.corrector_snr)
    return named_sampler(settings.sampler)


class Diffusion(nn.Module):
    """A `GenerativeModel` that denoises in the space of its codec."""

    def __init__(self, config: DiffusionConfig, tokenizer: Tokenizer, codec: Codec | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.codec = codec or PixelCodec()
        self.schedule: NoiseSchedule = named_schedule(config.schedule)
        self.prediction = Prediction(config.prediction, config.sigma_data)
        self.prediction.check(self.schedule)
        self.loss_space = Prediction(config.loss, config.sigma_data)
        self.time_distribution = LogitNormal(config.t_mean, config.t_std)
        match config.text:
            case TextConfig():
                self.text: nn.Module = TextEncoder(config.text)
            case EmbeddingConfig():
                self.text = EmbeddingTokens(config.text)
        self.layout = LayoutPredictor(config.layout, config.text.width, config.text.length) if config.layout else None
        match config.network:
            case DiTConfig():
                self.network: nn.Module = DiT(config.network)
            case UNetConfig():
                self.network = UNet(config.network)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it was trained on."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """Which module each named loss trains."""
        return {"main": self}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile each kind of block with torch.

        Compiling the whole network would take minutes; equal blocks share their code.
        """
        compile_blocks(self)

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> Batch:
        """A batch on the model's device.

        pixels: (B, H, W, C) uint8, straight alpha.
        captions: B texts. Raises TooLong where one does not fit.
        """
        return Batch(self.codec.encode(pixels.to(self.device)), self.tokenize(captions))

    def sample_times(self, x0: Tensor, rng: torch.Generator) -> Draw:
        """Times and noise for this process's rows of a batch.

        rng: in the same state in all processes, on the device of x0.
        """
        group = process_group()
        total = len(x0) * group.size  # of all processes: a picture's noise does not depend on their number
        mine = group.rows(total)
        t = self.time_distribution.sample(total, rng, mine)
        return Draw(t, torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[mine])

    def losses(self, batch: Batch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean squared error in the space of `config.loss`).

        If the batch has a layout and the model a layout predictor: attention uses the true layout, and the loss of the
        predictor is added.
        """
        words = self.condition(batch)
        loss = self.picture_losses(batch.x0, words, rng).mean()
        if self.layout is not None and batch.layout is not None:
            loss = loss + layout_loss(self.predict_layout(batch.ids), batch.layout)
        yield "main", loss

    def picture_losses(self, x0: Tensor, words: TextEncoding, rng: torch.Generator) -> Tensor:
        """The loss of every picture at times and with noise from rng. x0: (B, *).  Returns (B,)."""
        return self._error(x0, words, *self.sample_times(x0, rng))

    def loss_at(self, batch: Batch, t: Tensor, eps: Tensor) -> Tensor:
        """The loss of every picture at given times and noise.

        t: (B,).
        eps: noise in the shape of x0.
        Returns (B,).
        """
        return self._error(batch.x0, self.read(batch.ids), t, eps)

    def _error(self, real: Tensor, words: TextEncoding, t: Tensor, eps: Tensor) -> Tensor:
        xt = noised(real, eps, t, self.schedule)
        x0 = self.denoiser()(xt, t, words)
        alpha = per_picture(self.schedule.alpha(t), xt)
        sigma = per_picture(self.schedule.sigma(t), xt).clamp(min=SMALLEST_SIGMA)
        _, b = self.loss_space.line(alpha, sigma)
        return ((x0 - real) / b).square().flatten(1).mean(1)

    def predict_layout(self, ids: Tensor) -> Tensor:
        """The predicted layout, (B, L, 4): which tokens name a thing, and its position (see `LayoutPredictor`)."""
        assert self.layout is not None
        mask = padding(ids != 0, self.layout.position.dtype)
        assert isinstance(self.text, TextEncoder)
        out: Tensor = self.layout(self.text.embed(ids).detach(), mask)
        return out

    def denoiser(self) -> NetworkDenoiser:
        """The network as a function (xt, t, TextEncoding) -> x0."""
        return NetworkDenoiser(self.network, self.schedule, self.prediction, self.trained_levels)

    @cached_property
    def trained_levels(self) -> tuple[float, float]:
        """The range of logsnr of training times, without their upper 0.6 % and lower 0.02 %.

        At t = 1, where sampling begins, logsnr is -inf; no training time has this value.
        """
        deviations = torch.tensor([2.5, -3.5], dtype=torch.float64, device="cpu")
        ends = logsnr(self.schedule, self.time_distribution.at(deviations))
        least, most = ends.tolist()
        return least, most

    # Likelihood

    def bits_per_dim(self, batch: Batch, seeds: Sequence[int], steps: int = 100, bins: int = 256) -> Bound:
        """An upper bound on the bits per dimension of the pictures, given their captions.

        batch: pictures with `bins` values evenly spaced over [-1, 1].
        seeds: one per picture, for the noise.
        steps: levels of the chain, uniform in logsnr; more steps make the bound tighter. The lowest level is the lowest
            noise of training (three standard deviations of its times), but at least half a bin.
        bins: number of values of a pixel.
        """
        least = self.time_distribution.at(torch.tensor(-3.0, dtype=torch.float64))
        sigma_min = max((-logsnr(self.schedule, least) / 2).exp().item(), 1 / (bins - 1))
        grid = time_grid(self.schedule, steps, "logsnr", sigma_min=sigma_min)
        shape = batch.x0.shape[1:]

        def noise(step: int) -> Tensor:
            return batch_normal(shape, seeds, step).to(self.device)

        words = self.read(batch.ids)
        return bits_per_dim(clip_range(self.denoiser()), batch.x0, words, levels_of(self.schedule, grid), noise, bins)

    def picture_bits(
        self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int], steps: int = 25
    ) -> Iterator[float]:
        """An upper bound on the bits per dimension of each picture; see `LikelihoodModel`.

        steps: as for `bits_per_dim`. For eight icons (2026-11-21) the bound is 3.258 bits with 10 steps, 3.199 with 25,
            3.184 with 50 and 3.178 with 100.
        """
        for row, caption in enumerate(captions):  # one at a time: a batch gives only the mean
            batch = self._on_levels(self.batch(pixels[row : row + 1], [caption]))
            yield self.bits_per_dim(batch, [seeds[row]], steps=steps).total

    def ode_bits(self, pixels: Tensor, captions: Sequence[str], seeds: Sequence[int]) -> Iterator[float]:
        """The bits per dimension of each picture by the probability flow; see `OdeLikelihoodModel`."""
        for row, caption in enumerate(captions):
            batch = self._on_levels(self.batch(pixels[row : row + 1], [caption]))
            with torch.no_grad():
                words = self.read(batch.ids)
            yield ode_bits_per_dim(self.denoiser(), batch.x0, self.schedule, words, [seeds[row]]).item()

    def _on_levels(self, batch: Batch) -> Batch:
        """The batch with its pictures rounded to the levels of a pixel; premultiplied ones lie between them."""
        return batch._replace(x0=((batch.x0 + 1) * (LEVELS / 2)).round() * (2 / LEVELS) - 1)

    # Words

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise TooLong where a prompt does not fit."""
        for prompt in prompts:
            self.tokenizer.encode([prompt], self.config.text.length)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextEncoding:
        """The conditioning of texts. Each is encoded alone, so that its bits do not depend on the others."""
        return TextEncoding.joined([self.read(self.tokenize([text])) for text in texts])

    @torch.no_grad()
    def encode_pooled(self, texts: Sequence[str]) -> Tensor:
        """One vector for each text, (B, width)."""
        return self.encode(texts).pooled.float()

    def condition(self, batch: Batch) -> TextEncoding:
        """The conditioning of a batch, with the true layout in place of the predicted one if the batch has it."""
        if self.layout is None or batch.layout is None:
            return self.read(batch.ids)
        words: TextEncoding = self.text(batch.ids)
        return words._replace(layout=batch.layout)

    def read(self, ids: Tensor) -> TextEncoding:
        """The conditioning of tokens: their vectors, and the predicted layout if the model has a layout predictor.

        ids: (B, L).
        """
        words: TextEncoding = self.text(ids)
        if self.layout is None:
            return words
        return words._replace(layout=predicted_layout(self.predict_layout(ids)).detach())

    # Drawing

    def guided(self, settings: DiffusionSettings, exact: bool = True) -> Denoiser:
        """The denoiser with classifier-free guidance, its predictions kept within the codec's range.

        exact: evaluate picture by picture, so that the bits of a picture do not depend on the others of a batch.
        """
        denoise = self.extrapolated(settings.negative, settings.guidance_scale, settings.interval)
        denoise = self.codec.bounded(denoise, settings.threshold)
        return one_by_one(denoise, TextEncoding.one) if exact else denoise

    def extrapolated(self, negative: str, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> Denoiser:
        """The denoiser with classifier-free guidance alone; arguments as in `DiffusionSettings`."""
        null = self.encode([negative])

        def join(words: TextEncoding, nothing: TextEncoding) -> TextEncoding:
            return words.join(nothing.repeat(len(words.tokens)))

        return guide(self.denoiser(), null, scale, interval=interval, join=join)

    def sample(
        self,
        cond: TextEncoding,
        seeds: Sequence[Seed],
        settings: DiffusionSettings | None = None,
        *,
        exact: bool = True,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
        start: Tensor | None = None,
        first: int = 0,
    ) -> Iterator[Step]:
        """Denoise from pure noise, yielding every step; x0 of the last step is the result, in the codec's space.

        cond: from `encode`, one row per seed.
        seeds: for the noise. Picture i depends on its row of `cond`, on seeds[i] and the settings.
        settings: None: the defaults.
        exact: picture i depends on nothing else.
        wrap: further guidance around `guided`: gets the denoiser of the whole batch and returns another, whose pictures
            must not depend on each other (`guide_by_gradient`, `inpaint`).
        start: (B, *), what to start from, divided by the sigma of its time; None: the noise of the seeds.
        first: how many steps to leave out at the beginning.
        Raises ValueError, before the first step, for settings that do not fit together.
        """
        settings = settings or DiffusionSettings()
        if len(seeds) != len(cond.tokens):
            raise ValueError(f"{len(seeds)} seeds for {len(cond.tokens)} prompts")
        sampler = sampler_of(settings)
        grid = time_grid(self.schedule, settings.steps, settings.spacing, shift=settings.shift)
        levels = levels_of(self.schedule, grid)[first:]
        guided = self.guided(settings, exact)
        denoise = wrap(guided) if wrap else guided
        channels, side, _ = self.shape
        side = settings.size or side
        shape = self.codec.latent_shape((channels, side, side))

        def noise(step: int) -> Tensor:
            return batch_normal(shape, seeds, step).to(self.device)

        @torch.no_grad()  # on a generator it is in force only while the generator runs
        def steps() -> Iterator[Step]:
            unit = noise(0) if start is None else start.to(self.device)
            yield from sampler(denoise, unit * levels[0].sigma, cond, levels, noise)

        return steps()

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: DiffusionSettings | None = None,
        *,
        exact: bool = True,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
    ) -> Iterator[Frame]:
        """Draw pictures, one frame a step. Arguments as in `sample`, errors as in `GenerativeModel.draw`."""
        settings = settings or DiffusionSettings()
        steps = self.sample(self.encode(prompts), seeds, settings, exact=exact, wrap=wrap)
        return self.frames(steps, settings.frames(settings.steps))

    def frames(self, steps: Iterator[Step], total: int) -> Iterator[Frame]:
        """The steps of `sample` as frames. NotFinite for NaN or infinity."""
        for step in steps:
            if not step.x0.isfinite().all():
                raise NotFinite(f"step {step.i + 1} gives NaN or infinity instead of a picture: lower the guidance")
            decode = self.codec.decode
            yield Frame(step.i, total, partial(decode, step.x0), partial(decode, step.xt), step.t)

    # Exploration (`models.exploration`)

    def conditioning(self, prompt: str, seed: int, settings: DiffusionSettings) -> TextEncoding:  # noqa: ARG002
        """The encoding of a prompt. seed, settings: not used."""
        return self.encode([prompt])

    def blend(self, a: TextEncoding, b: TextEncoding, fraction: float) -> TextEncoding:
        """The straight line between the vectors of two prompts."""
        return a.towards(b, fraction)

    def draw_conditioned(
        self,
        cond: TextEncoding,
        seeds: Sequence[Seed],
        settings: DiffusionSettings,
        *,
        start: Tensor | None = None,
        first: int = 0,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures of a conditioning. start, first: as of `sample`."""
        steps = self.sample(cond, seeds, settings, exact=exact, start=start, first=first)
        return self.frames(steps, settings.frames(settings.steps - first))

    def invert(self, pixels: Tensor, settings: DiffusionSettings) -> Tensor:
        """The noise that becomes this picture without a prompt, by inversion. pixels: (1, H, W, C) uint8."""
        x0 = self.codec.encode(pixels.to(self.device))
        levels = levels_of(
            self.schedule, time_grid(self.schedule, settings.steps, settings.spacing, shift=settings.shift)
        )
        unguided = self.codec.bounded(self.denoiser())
        return ddim_inversion(unguided, x0, self.encode([""]), levels)

    def blend_points(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """The great circle between two noises."""
        return slerp(a.flatten(1), b.flatten(1), fraction).view_as(a)

    def draw_point(self, point: Tensor, settings: DiffusionSettings) -> Iterator[Frame]:
        """Draw the picture of a noise without a prompt, by DDIM."""
        return self.draw_conditioned(self.encode([""]), [0], settings.by_ddim(), start=point)

    def vary(
        self,
        pixels: Tensor,
        seeds: Sequence[int],
        settings: DiffusionSettings | None = None,
        *,
        strength: float,
        prompt: str = "",
    ) -> Iterator[Frame]:
        """Draw variations: the picture gets noise up to time `strength`, and is denoised from there.

        Source: Meng et al. 2022 (SDEdit), algorithm 1. Arguments as of `exploration.Varies`.
        """
        settings = settings or DiffusionSettings()
        x0 = self.codec.encode(pixels.to(self.device))
        grid = time_grid(self.schedule, settings.steps, settings.spacing, shift=settings.shift)
        first = min(range(settings.steps), key=lambda i: abs(grid[i] - strength))
        level = levels_of(self.schedule, grid)[first]
        eps = batch_normal(x0.shape[1:], seeds, VARYING).to(self.device)
        start = (x0 * level.alpha + eps * level.sigma) / level.sigma
        cond = self.encode([prompt]).repeat(len(seeds))
        return self.draw_conditioned(cond, seeds, settings, start=start, first=first)
