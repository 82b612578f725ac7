"""Predictor and corrector: a step of the reverse Markov chain, then Langevin dynamics at the new noise level."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from unstir.diffusion.chain import transition
from unstir.diffusion.denoiser import Denoiser, full_time, per_picture, picture_sums
from unstir.diffusion.prediction import score
from unstir.diffusion.sampler import Level, Noise, Step, chain_noise, step_to

CORRECTOR = 1 << 16
"""Corrector step j of interval i takes the noise of step (j + 1)·CORRECTOR + i + 1, which no predictor step takes."""


def pc(
    denoise: Denoiser,
    xt: Tensor,
    cond: Any,
    levels: Sequence[Level],
    noise: Noise,
    corrector_steps: int = 1,
    corrector_snr: float = 0.16,
) -> Iterator[Step]:
    """The predictor is `ddpm`. After each of its steps but the last the corrector takes steps along the score.

    They too have fresh noise: the noise level stays, and what is too improbable at this level becomes more probable.
    Without corrector steps it is `ddpm`.

    Yields a Step for each evaluation of the network, of predictor and corrector: n + (n - 1)·corrector_steps for n
    intervals. The last one is the predictor's, without noise.

    corrector_steps: at every level between the first and the last one.
    corrector_snr: see `langevin_step`.
    Source: Song et al. 2021 (score SDE), algorithm 1; its predictor in appendix F.
    """
    last, count = len(levels) - 2, 0
    for i, (t, s) in enumerate(pairwise(levels)):
        x0 = denoise(xt, full_time(t.t, xt), cond)
        yield Step(count, t.t, xt, x0)
        count += 1
        if i == last:
            return
        xt = step_to(x0, xt, t, s, chain_noise(t, s), noise(i + 1))
        kept, _ = transition(s, levels[i + 2])
        for j in range(corrector_steps):
            x0 = denoise(xt, full_time(s.t, xt), cond)
            yield Step(count, s.t, xt, x0)
            count += 1
            xt = langevin_step(x0, xt, s, noise((j + 1) * CORRECTOR + i + 1), corrector_snr, kept**2)


def langevin_step(x0: Tensor, xt: Tensor, level: Level, z: Tensor, snr: float, kept: float = 1.0) -> Tensor:
    """One step of Langevin dynamics at a noise level: xt + h·score + sqrt(2h)·z with h = 2·kept·(snr·|z|/|score|)².

    The norms are those of each picture, not means over the batch as in the source, so that no picture depends on its
    neighbours. In few dimensions |score| may be near 0; h is at most sigma², which for pictures it is far below: about
    2·snr²·sigma².

    x0, xt: (B, *), the predicted picture and the noisy one.
    z: (B, *) unit noise.
    snr: the length of a step along the score relative to that of its noise; the larger, the farther a step goes.
    kept: the factor of the variance of x_s in x_t for the interval to the next level, 1 where variance explodes.
    Returns (B, *).
    Source: Song et al. 2021 (score SDE), algorithms 4 and 5.
    """
    gradient = score(x0, xt, level.alpha, level.sigma)
    ratio = picture_sums(z.double().square()) / picture_sums(gradient.double().square())
    h = (2 * kept * snr**2 * ratio).clamp(max=level.sigma**2)
    # Products and sums, as in `step_to`.
    out = gradient * per_picture(h, xt)
    out += xt
    out += z * per_picture((2 * h).sqrt(), xt)
    return out
