"""The naive way back: a network that predicts the previous, slightly less noisy picture of a fixed chain of steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import torch
from torch import Tensor

from unstir.diffusion.chain import transition
from unstir.diffusion.denoiser import NetworkDenoiser, full_time, per_picture
from unstir.diffusion.grid import MAX_STEPS, time_grid
from unstir.diffusion.guidance import one_by_one
from unstir.diffusion.noise import Seed, batch_normal
from unstir.diffusion.sampler import Level, chain_noise, levels_of
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.models.generative import Frame, NotFinite
from unstir.models.process_group import process_group
from unstir.nn.dit import DiTConfig
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig, TextEncoding
from unstir.nn.unet import UNetConfig
from unstir.settings import PreviousStepSettings
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class PreviousStepConfig:
    """The architecture and the chain.

    network, text, schedule, sigma_data, layout: as of `DiffusionConfig`.
    steps: of the chain, uniform in time. Drawing takes just as many.
    ValueError for a number of steps that cannot be.
    """

    network: DiTConfig | UNetConfig
    text: TextConfig
    schedule: str = "flow"
    sigma_data: float = 0.5
    steps: int = 50
    layout: LayoutConfig | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"the chain has 1 to {MAX_STEPS} steps, got {self.steps}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.network.channels, self.network.size, self.network.size


class PreviousStep(Diffusion):
    """A `GenerativeModel` that learns to undo one step of noise, and draws by undoing all of them.

    It is what one thinks of first, and the reasons why `Diffusion` predicts the finished picture x0 instead are seen
    well by it. Let x_s be the picture one step before x_t:

    - What there is to learn is drowned. x_s is c·x0 + k·xt plus fresh noise, and c is small: an error of the picture
      counts c² of its square. With 50 steps of `flow`, at t = 0.5 and for pictures of deviation 0.5, c² is 0.006. A
      network that knows nothing of the picture has a loss 0.8 % above the least possible one, and one that copies its
      input 6 %; with 1,000 steps 0.04 % and 0.3 %. The rest is noise that nothing can predict.
    - Errors compound. Each step starts from the result of the one before; an error that it makes is passed on and added
      to, and there is no step that says what all of them lead to. A predicted x0 is such a statement at every step.
    - All noise has to pass through the network. Most of x_s is the noise that x_t has too; a network with a narrow
      place, such as patches of few numbers, cannot reproduce it. `step_to` takes it from x_t.
    - The number of steps is fixed when it is trained.

    The network's best answer, E[x_s | x_t], is the same step towards E[x0 | x_t], with the mean of the fresh noise. So
    without that noise (`posterior_noise` 0) pictures lose their variety, and with it the exact network is `ddpm`.
    Source: Ho et al. 2020, section 3.2, eq. 8 (the network predicts the mean of the posterior) and section 4.2.
    """

    config: PreviousStepConfig  # type: ignore[assignment]
    # What needs a prediction of the finished picture.
    sample = loss_at = vary = invert = blend_points = draw_point = None  # type: ignore[assignment]
    bits_per_dim = picture_bits = ode_bits = None  # type: ignore[assignment]

    def __init__(self, config: PreviousStepConfig, tokenizer: Tokenizer) -> None:
        same = DiffusionConfig(
            config.network, config.text, config.schedule, sigma_data=config.sigma_data, layout=config.layout
        )
        super().__init__(same, tokenizer)
        self.config = config

    @cached_property
    def levels(self) -> list[Level]:
        """The chain, from noise to picture."""
        return levels_of(self.schedule, time_grid(self.schedule, self.config.steps))

    @cached_property
    def trained_levels(self) -> tuple[float, float]:
        """All that the network can be told: it was trained at every level that it is asked at."""
        return -20.0, 20.0

    def denoiser(self) -> NetworkDenoiser:
        """The network as a function (xt, t, TextEncoding) -> the picture one step before xt."""
        return super().denoiser()

    def picture_losses(self, x0: Tensor, words: TextEncoding, rng: torch.Generator) -> Tensor:
        """The mean squared error of the predicted previous picture, (B,), at steps and with noise from rng.

        The true one is on the way to xt: noise leads from x0 to x_s, and a little more of it from there to x_t.
        """
        group = process_group()
        total = len(x0) * group.size
        rows = group.rows(total)
        n = torch.randint(self.config.steps, (total,), generator=rng, device=x0.device)[rows]
        first, more = (torch.randn(total, *x0.shape[1:], generator=rng, device=x0.device)[rows] for _ in range(2))
        xs, xt = self.neighbours(x0, n, first, more)
        t = torch.tensor([level.t for level in self.levels], dtype=torch.float64, device=x0.device)[n]
        return (self.denoiser()(xt, t, words) - xs).square().flatten(1).mean(1)

    def neighbours(self, x0: Tensor, n: Tensor, first: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
        """Two neighbours of the chain: x_s, and x_t with more noise. So x_s is drawn from q(x_s | x_t, x0).

        n: (B,), which step leads from x_t to x_s, 0 … steps - 1.
        first, more: unit noise in the shape of x0, of x_s and of the way from there to x_t.
        """
        pairs = pairwise(self.levels)
        table = [(s.alpha, s.sigma, *transition(t, s)) for t, s in pairs]
        chosen = torch.tensor(table, dtype=torch.float64, device=x0.device)[n]
        alpha, sigma, kept, std = (per_picture(column, x0) for column in chosen.unbind(1))
        xs = alpha * x0 + sigma * first
        return xs, kept * xs + std * more

    # Drawing

    def draw(  # type: ignore[override]
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: PreviousStepSettings | None = None,
        *,
        exact: bool = True,
    ) -> Iterator[Frame]:
        """Draw pictures, one frame a step: what the network got, and what it predicted. See `GenerativeModel.draw`."""
        return self.draw_conditioned(self.encode(prompts), seeds, settings or PreviousStepSettings(), exact=exact)

    def draw_conditioned(  # type: ignore[override]
        self, cond: TextEncoding, seeds: Sequence[Seed], settings: PreviousStepSettings, *, exact: bool = True
    ) -> Iterator[Frame]:
        """Draw pictures of a conditioning. ValueError for another number of seeds."""
        if len(seeds) != len(cond.tokens):
            raise ValueError(f"{len(seeds)} seeds for {len(cond.tokens)} prompts")
        # Guidance extrapolates x_s as it would x0, since the one is the other times c plus what is known.
        predict = self.extrapolated(settings.negative, settings.guidance_scale)
        if exact:
            predict = one_by_one(predict, TextEncoding.one)
        decode = self.codec.decode

        @torch.no_grad()
        def frames() -> Iterator[Frame]:
            xt = batch_normal(self.shape, seeds, 0).to(self.device) * self.levels[0].sigma
            for i, (t, s) in enumerate(pairwise(self.levels)):
                xs = predict(xt, full_time(t.t, xt), cond)
                if not xs.isfinite().all():
                    raise NotFinite(f"step {i + 1} gives NaN or infinity instead of a picture: lower the guidance")
                yield Frame(i, self.config.steps, partial(decode, xs), partial(decode, xt))
                std = settings.posterior_noise * chain_noise(t, s)
                xt = xs + batch_normal(self.shape, seeds, i + 1).to(self.device) * std if std else xs

        return frames()
