"""An adaptive solver of ordinary differential equations; every picture of a batch has a step size of its own."""

from collections.abc import Callable

import torch
from torch import Tensor

from unstir.diffusion.denoiser import per_picture, picture_sums

State = tuple[Tensor, ...]
"""What is integrated: one tensor or several, each (B, *)."""

Field = Callable[[Tensor, State], State]
"""(t (B,) float64, state) -> the derivative of the state by t. No picture may depend on another."""

MAX_STEPS = 20_000

# Dormand and Prince 1980, table 2: nodes, stages, and the difference of the solutions of order 5 and 4. The last stage
# is the solution of order 5 itself, so that its derivative is the first one of the next step.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

_FIRST, _SMALLEST, _LARGEST, _CAUTION = 1e-3, 0.2, 5.0, 0.9
"""The first step as a fraction of the interval; by which factors a step size may change; and how much to hold back."""


def dormand_prince(
    field: Field, state: State, start: float, end: float, *, rtol: float = 1e-5, atol: float = 1e-5
) -> State:
    """The state at time `end`, by the method of order 5 with steps chosen so that their estimated error is small.

    The error of a step is the root mean square over a picture of its error of order 4, relative to atol + rtol·|value|;
    with several tensors the largest of theirs. Each picture has its own times and steps, so that it does not depend on
    the others of the batch.

    state: at time `start`; each tensor (B, *), floating point.
    start, end: in either order.
    rtol, atol: relative and absolute tolerance of a step.
    Raises ValueError where a tolerance is not positive, or where MAX_STEPS steps do not lead to `end`.
    Source: Dormand and Prince 1980 (RK5(4)7M); Hairer, Norsett and Wanner 1993, section II.4, for the step size.
    """
    if not (rtol > 0 and atol > 0):
        raise ValueError(f"the tolerances of an ODE must be positive, got rtol={rtol} and atol={atol}")
    t = torch.full((len(state[0]),), start, dtype=torch.float64, device=state[0].device)
    step = torch.full_like(t, _FIRST * (end - start))
    first = field(t, state)
    for _ in range(MAX_STEPS):
        left = end - t
        if not left.any():
            return state
        arrives = step.abs() >= left.abs()
        step = torch.where(arrives, left, step)
        slopes = [first]
        for node, weights in zip(_NODES[1:], _STAGES, strict=True):
            tried = _moved(state, step, slopes, weights)
            slopes.append(field(t + node * step, tried))
        ratio = _error_ratio(state, tried, step, slopes, rtol, atol)
        accepted = ratio <= 1
        state, first = _chosen(accepted, tried, state), _chosen(accepted, slopes[-1], first)
        t = torch.where(accepted & arrives, end, torch.where(accepted, t + step, t))
        # NaN, of a step that was far too long, counts as the largest error.
        factor = (_CAUTION * ratio.clamp(min=1e-10) ** -0.2).nan_to_num(nan=0.0).clamp(_SMALLEST, _LARGEST)
        step = step * factor
    raise ValueError(f"the ODE is not solved in {MAX_STEPS} steps; take larger tolerances than {rtol:g} and {atol:g}")


def _moved(state: State, step: Tensor, slopes: list[State], weights: tuple[float, ...]) -> State:
    """The state moved by the weighted sum of the slopes."""
    return tuple(
        value + sum(slope[i] * per_picture(step * weight, value) for slope, weight in zip(slopes, weights, strict=True))
        for i, value in enumerate(state)
    )


def _chosen(accepted: Tensor, new: State, old: State) -> State:
    """The new state of the pictures whose step is accepted, the old one of the others."""
    return tuple(torch.where(accepted.view(-1, *([1] * (a.ndim - 1))), a, b) for a, b in zip(new, old, strict=True))


def _error_ratio(state: State, tried: State, step: Tensor, slopes: list[State], rtol: float, atol: float) -> Tensor:
    """The estimated error of a step relative to what is allowed, (B,)."""
    ratios = []
    zero = tuple(torch.zeros_like(value) for value in state)
    for value, new, error in zip(state, tried, _moved(zero, step, slopes, _ERROR), strict=True):
        allowed = atol + rtol * torch.maximum(value.abs(), new.abs())
        ratios.append((picture_sums((error / allowed).double().square()) / value[0].numel()).sqrt())
    return torch.stack(ratios).amax(0)
