"""Text-to-image diffusion in pixel space: a picture network and a text encoder trained together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstir.diffusion.chain import Bound, bits_per_dim
from unstir.diffusion.denoiser import Denoiser, NetworkDenoiser, noised, per_picture
from unstir.diffusion.grid import time_grid
from unstir.diffusion.guidance import clip_range, dynamic_threshold, guide, one_by_one
from unstir.diffusion.noise import batch_normal
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.sampler import Step, levels_of, named_sampler
from unstir.diffusion.schedule import NoiseSchedule, logsnr, named_schedule
from unstir.diffusion.time_distribution import LogitNormal
from unstir.models.process_group import process_group
from unstir.nn.dit import DiT, DiTConfig
from unstir.nn.layout import LayoutConfig, LayoutPredictor, layout_loss, predicted_layout
from unstir.nn.text import TextConfig, TextEncoder, TextEncoding, padding
from unstir.nn.transformer import compile_blocks
from unstir.nn.unet import UNet, UNetConfig
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


@dataclass(frozen=True)
class Sampling:
    """The dials of one request. interval: guide only at times within.  threshold: percentile, 1 = plain clipping."""

    steps: int = 24
    sampler: str = "dpmpp_2m"
    guidance_scale: float = 3.0
    interval: tuple[float, float] = (0.0, 1.0)
    spacing: str = "uniform"
    shift: float = 1.0
    threshold: float = 1.0


class Batch(NamedTuple):
    """x0: (B, C, S, S) in [-1, 1]; ids: (B, L) tokens of the captions.

    where: (B, L, 3), where the thing lies that a token names: its middle x, y and its scale, as shares of the side; nan
    for tokens that name none. None where nobody knows.
    """

    x0: Tensor
    ids: Tensor
    where: Tensor | None = None


class Draw(NamedTuple):
    """What is random about one loss. t: (B,) times; eps: noise in the shape of x0."""

    t: Tensor
    eps: Tensor


SMALLEST_SIGMA = 0.05
"""The loss weight 1/b² is held constant below this noise level, or it would grow without bound (Li and He 2025)."""


class Diffusion(nn.Module):
    """A `GenerativeModel`: `losses` for training, `sample` for pictures."""

    def __init__(self, config: DiffusionConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
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
        network = self.config.network
        return network.channels, network.size, network.size

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """Which module each named loss trains."""
        return {"main": self}

    def compile_loss(self) -> None:
        """Let torch compile the blocks: faster steps after some seconds of waiting.

        Each kind of block once, not the whole network, whose compilation takes minutes: equal blocks share their code.
        """
        compile_blocks(self)

    def draw(self, x0: Tensor, rng: torch.Generator) -> Draw:
        """Times and noise for this process's rows of a batch. rng: alike in all processes, on the device of x0."""
        # Drawn for all processes: a picture's noise does not depend on how many share the batch.
        total = len(x0) * process_group().size
        mine = process_group().rows(total)
        t = self.time_distribution.sample(total, rng, mine)
        return Draw(t, torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[mine])

    def losses(self, batch: Batch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the mean weighted error of x0): the squared error in the space of `config.loss`. Of a model
        with a reader of places, where the batch knows them: the patches heed these, and the reader's error is added.
        """
        words = self.told(batch)
        loss = self._error(batch.x0, words, *self.draw(batch.x0, rng)).mean()
        if self.layout is not None and batch.where is not None:
            loss = loss + layout_loss(self.find(batch.ids), batch.where)
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

    def find(self, ids: Tensor) -> Tensor:
        """(B, L, 4): which tokens name a thing, and where it lies, as the reader has it (see `LayoutPredictor`)."""
        assert self.layout is not None
        mask = padding(ids != 0, self.layout.position.dtype)
        out: Tensor = self.layout(self.text.embed(ids).detach(), mask)
        return out

    def denoiser(self) -> NetworkDenoiser:
        """The network as a function (xt, t, Words) -> x0."""
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

        batch: pictures of `bins` values evenly spaced over [-1, 1].  seeds: one per picture, for the noise.
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

    # Sampling

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextEncoding:
        """Conditioning by texts. Each is encoded alone, so that its vectors do not depend on its neighbours."""
        return TextEncoding.joined([self.read(self.tokenize([text])) for text in texts])

    def told(self, batch: Batch) -> TextEncoding:
        """The words of a batch, with the places that it knows in place of those that a reader would find."""
        if self.layout is None or batch.where is None:
            return self.read(batch.ids)
        words: TextEncoding = self.text(batch.ids)
        return words._replace(layout=batch.where)

    def read(self, ids: Tensor) -> TextEncoding:
        """Tokens (B, L) as conditioning: their vectors, and where things lie if the model has a reader for that."""
        words: TextEncoding = self.text(ids)
        return words if self.layout is None else words._replace(layout=predicted_layout(self.find(ids)).detach())

    def guided(self, sampling: Sampling, negative: str = "") -> Denoiser:
        """The denoiser of one request: guidance, clipping, and picture by picture."""
        null = self.encode([negative])
        denoise = guide(
            self.denoiser(), null, sampling.guidance_scale, interval=sampling.interval, join=TextEncoding.join
        )
        denoise = clip_range(denoise) if sampling.threshold == 1 else dynamic_threshold(denoise, sampling.threshold)
        return one_by_one(denoise, TextEncoding.one)

    def sample(
        self,
        shape: Sequence[int],
        cond: TextEncoding,
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        negative: str = "",
        wrap: Callable[[Denoiser], Denoiser] | None = None,
    ) -> Iterator[Step]:
        """Denoise from pure noise, yielding every step; the last step's x0 are the pictures.

        shape: of one picture.  cond: from `encode`, one row per seed.  Picture i depends on its row of `cond`, on
        seeds[i] and on the settings, and on nothing else.
        wrap: more guidance, put around all of `guided`: it gets the denoiser of the whole batch and returns one, which
        must keep the pictures apart itself (`steer`, `inpaint`).
        Raises ValueError at once for settings that do not exist or do not fit together.
        """
        sampling = sampling or Sampling()
        if len(seeds) != len(cond.tokens):
            raise ValueError(f"{len(seeds)} seeds for {len(cond.tokens)} prompts")
        sampler = named_sampler(sampling.sampler)
        grid = time_grid(self.schedule, sampling.steps, sampling.spacing, shift=sampling.shift)
        levels = levels_of(self.schedule, grid)
        guided = self.guided(sampling, negative)
        denoise = wrap(guided) if wrap else guided

        def noise(step: int) -> Tensor:
            return batch_normal(shape, seeds, step).to(self.device)

        @torch.no_grad()  # on a generator it is in force only while the generator runs
        def steps() -> Iterator[Step]:
            yield from sampler(denoise, noise(0) * levels[0].sigma, cond, levels, noise)

        return steps()
