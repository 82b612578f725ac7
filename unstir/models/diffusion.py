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
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.sampler import Sampler, Step, levels_of, named_sampler
from unstir.diffusion.samplers.ddim import ddim
from unstir.diffusion.schedule import NoiseSchedule, logsnr, named_schedule
from unstir.diffusion.time_distribution import LogitNormal
from unstir.models.codec import Codec, PixelCodec
from unstir.models.generative import Frame, NotFinite
from unstir.models.process_group import process_group
from unstir.nn.dit import DiT, DiTConfig
from unstir.nn.layout import LayoutConfig, LayoutPredictor, layout_loss, predicted_layout
from unstir.nn.text import TextConfig, TextEncoder, TextEncoding, padding
from unstir.nn.transformer import compile_blocks
from unstir.nn.unet import UNet, UNetConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class DiffusionConfig:
    """Everything that the architecture and the loss depend on.

    schedule, prediction: names (see unstir.diffusion).  loss: the prediction in whose space the error is measured.
    sigma_data: standard deviation of the pictures in [-1, 1].
    t_mean, t_std: training times are sigmoid(N(t_mean, t_std²)); a higher mean trains more on noise.
    layout: a reader that finds in the words where things lie (`nn.layout`), or None.
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
        """This configuration for the weights of a model that has another one: what they mean is kept.

        ValueError where the networks differ.
        """
        text = replace(self.text, vocabulary=start.text.vocabulary, length=start.text.length)
        if (self.network, text) != (start.network, start.text):
            raise ValueError("its network or its text encoder is another one")
        kept = {name: getattr(start, name) for name in ("text", "schedule", "prediction", "loss", "sigma_data")}
        return replace(self, **kept, layout=start.layout or self.layout)


class Batch(NamedTuple):
    """What one step trains on.

    x0: (B, C, S, S), in [-1, 1] where they are pixels.
    ids: (B, L) tokens of the captions.
    layout: (B, L, 3), where the thing lies that a token names: its centre x, y and its scale, as shares of the side;
        NaN for tokens that name none. None where it is not known.
    """

    x0: Tensor
    ids: Tensor
    layout: Tensor | None = None


class Draw(NamedTuple):
    """What is random about one loss. t: (B,) times; eps: noise in the shape of x0."""

    t: Tensor
    eps: Tensor


LEVELS = 255
"""Steps between the values that a number of a picture takes."""

SMALLEST_SIGMA = 0.05
"""The loss weight 1/b² is held constant below this noise level, or it would grow without bound (Li and He 2025)."""


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
        self.text = TextEncoder(config.text)
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
        """Let torch compile the blocks: faster steps after some seconds of waiting.

        Each kind of block once, not the whole network, whose compilation takes minutes: equal blocks share their code.
        """
        compile_blocks(self)

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> Batch:
        """uint8 (B, H, W, C), straight alpha, and their captions, on the model's device."""
        return Batch(self.codec.encode(pixels.to(self.device)), self.tokenize(captions))

    def sample_times(self, x0: Tensor, rng: torch.Generator) -> Draw:
        """Times and noise for this process's rows of a batch. rng: alike in all processes, on the device of x0."""
        group = process_group()
        total = len(x0) * group.size  # for all: a picture's noise does not depend on how many share them
        mine = group.rows(total)
        t = self.time_distribution.sample(total, rng, mine)
        return Draw(t, torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[mine])

    def losses(self, batch: Batch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean weighted error of x0): the squared error in the space of `config.loss`.

        Where the batch knows the layout and the model predicts one: attention follows the true layout, and the error
        of the predicted one is added.
        """
        words = self.condition(batch)
        loss = self._error(batch.x0, words, *self.sample_times(batch.x0, rng)).mean()
        if self.layout is not None and batch.layout is not None:
            loss = loss + layout_loss(self.predict_layout(batch.ids), batch.layout)
        yield "main", loss

    def loss_at(self, batch: Batch, t: Tensor, eps: Tensor) -> Tensor:
        """The loss of every picture at given times and noise, (B,)."""
        return self._error(batch.x0, self.read(batch.ids), t, eps)

    def _error(self, real: Tensor, words: TextEncoding, t: Tensor, eps: Tensor) -> Tensor:
        xt = noised(real, eps, t, self.schedule)
        x0 = self.denoiser()(xt, t, words)
        alpha = per_picture(self.schedule.alpha(t), xt)
        sigma = per_picture(self.schedule.sigma(t), xt).clamp(min=SMALLEST_SIGMA)
        _, b = self.loss_space.line(alpha, sigma)
        return ((x0 - real) / b).square().flatten(1).mean(1)

    def predict_layout(self, ids: Tensor) -> Tensor:
        """(B, L, 4): which tokens name a thing, and where it lies, as predicted (see `LayoutPredictor`)."""
        assert self.layout is not None
        mask = padding(ids != 0, self.layout.position.dtype)
        out: Tensor = self.layout(self.text.embed(ids).detach(), mask)
        return out

    def denoiser(self) -> NetworkDenoiser:
        """The network as a function (xt, t, TextEncoding) -> x0."""
        return NetworkDenoiser(self.network, self.schedule, self.prediction, self.trained_levels)

    @cached_property
    def trained_levels(self) -> tuple[float, float]:
        """The range of logsnr in which training times lie, from their upper 0.6 % to their lower 0.02 %.

        At t = 1 itself, where sampling begins, logsnr is -inf and no training time ever was.
        """
        deviations = torch.tensor([2.5, -3.5], dtype=torch.float64, device="cpu")
        ends = logsnr(self.schedule, self.time_distribution.at(deviations))
        least, most = ends.tolist()
        return least, most

    # Likelihood

    def bits_per_dim(self, batch: Batch, seeds: Sequence[int], steps: int = 100, bins: int = 256) -> Bound:
        """An upper bound on the bits this model needs for each number of the pictures, given their words.

        batch: pictures of `bins` values evenly spaced over [-1, 1].
        seeds: one per picture, for the noise.
        steps: levels of the chain, even in logsnr, down to the least noise that training saw (three deviations of its
            times) but no less than half a bin; more make the bound tighter.
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
        """An upper bound on the bits per dimension of each picture, as `LikelihoodModel` says.

        steps: as of `bits_per_dim`. Of eight icons (2026-11-21) the bound is 3.258 bits with 10, 3.199 with 25, 3.184
            with 50 and 3.178 with 100.
        """
        for row, caption in enumerate(captions):  # one at a time: a batch would only give the mean
            batch = self.batch(pixels[row : row + 1], [caption])
            levels = ((batch.x0 + 1) * (LEVELS / 2)).round() * (2 / LEVELS) - 1
            yield self.bits_per_dim(batch._replace(x0=levels), [seeds[row]], steps=steps).total

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
        """Conditioning by texts. Each is encoded alone, so that its vectors do not depend on its neighbours."""
        return TextEncoding.joined([self.read(self.tokenize([text])) for text in texts])

    def condition(self, batch: Batch) -> TextEncoding:
        """The words of a batch, with its layout in place of the predicted one where it knows one."""
        if self.layout is None or batch.layout is None:
            return self.read(batch.ids)
        words: TextEncoding = self.text(batch.ids)
        return words._replace(layout=batch.layout)

    def read(self, ids: Tensor) -> TextEncoding:
        """Tokens (B, L) as conditioning: their vectors, and the predicted layout if the model predicts one."""
        words: TextEncoding = self.text(ids)
        if self.layout is None:
            return words
        return words._replace(layout=predicted_layout(self.predict_layout(ids)).detach())

    # Drawing

    def guided(self, settings: DiffusionSettings, exact: bool = True) -> Denoiser:
        """The denoiser of a request: classifier-free guidance, kept within the codec's range.

        exact: evaluate picture by picture, so that no picture's bits depend on its neighbours.
        """
        null = self.encode([settings.negative])

        def join(words: TextEncoding, nothing: TextEncoding) -> TextEncoding:
            return words.join(nothing.repeat(len(words.tokens)))

        denoise = guide(self.denoiser(), null, settings.guidance_scale, interval=settings.interval, join=join)
        denoise = self.codec.bounded(denoise, settings.threshold)
        return one_by_one(denoise, TextEncoding.one) if exact else denoise

    def sample(
        self,
        cond: TextEncoding,
        seeds: Sequence[int],
        settings: DiffusionSettings | None = None,
        *,
        exact: bool = True,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
    ) -> Iterator[Step]:
        """Denoise from pure noise, yielding every step; the last step's x0 are the pictures, in the codec's space.

        cond: from `encode`, one row per seed. Picture i depends on its row of `cond`, on seeds[i] and on the settings;
        with `exact`, on nothing else.
        wrap: more guidance, put around all of `guided`: it gets the denoiser of the whole batch and returns one, which
            must keep the pictures apart itself (`guide_by_gradient`, `inpaint`).
        Raises ValueError at once for settings that do not fit together.
        """
        settings = settings or DiffusionSettings()
        if len(seeds) != len(cond.tokens):
            raise ValueError(f"{len(seeds)} seeds for {len(cond.tokens)} prompts")
        sampler: Sampler = partial(ddim, eta=settings.eta) if settings.eta else named_sampler(settings.sampler)
        grid = time_grid(self.schedule, settings.steps, settings.spacing, shift=settings.shift)
        levels = levels_of(self.schedule, grid)
        guided = self.guided(settings, exact)
        denoise = wrap(guided) if wrap else guided
        channels, side, _ = self.shape
        side = settings.size or side
        shape = self.codec.latent_shape((channels, side, side))

        def noise(step: int) -> Tensor:
            return batch_normal(shape, seeds, step).to(self.device)

        @torch.no_grad()  # on a generator it is in force only while the generator runs
        def steps() -> Iterator[Step]:
            yield from sampler(denoise, noise(0) * levels[0].sigma, cond, levels, noise)

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
        """The pictures of these prompts, one frame a step. Arguments as of `sample`, errors as `GenerativeModel`."""
        settings = settings or DiffusionSettings()
        steps = self.sample(self.encode(prompts), seeds, settings, exact=exact, wrap=wrap)

        def frames() -> Iterator[Frame]:
            for step in steps:
                if not step.x0.isfinite().all():
                    raise NotFinite(f"step {step.i + 1} gives NaN or infinity instead of a picture: lower the guidance")
                decode = self.codec.decode
                yield Frame(step.i, settings.steps, partial(decode, step.x0), partial(decode, step.xt), step.t)

        return frames()
