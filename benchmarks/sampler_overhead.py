"""The cost of a sampler step without the network: ours, diffusers' schedulers, and two plain tensor operations.

    python -m benchmarks.sampler_overhead

The denoiser returns a constant picture; one thread, 1×4×64×64 float32. The contestants are measured alternately, so
that other load on the machine affects all of them; medians over the rounds. Goal: at most 30 µs a step for DDIM.
"""

import statistics
import time
from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from unstir.diffusion.grid import time_grid
from unstir.diffusion.sampler import levels_of, named_sampler
from unstir.diffusion.schedule import LinearBeta

STEPS, ROUNDS = 50, 200
SHAPE = (1, 4, 64, 64)
GOAL = 30.0


def ours(name: str, xt: Tensor, x0: Tensor) -> Callable[[], None]:
    """One run of the sampler, STEPS steps, each step's preview included."""
    levels = levels_of(LinearBeta(), time_grid(LinearBeta(), STEPS))

    def denoise(*_: object) -> Tensor:
        return x0

    def run() -> None:
        for _ in named_sampler(name)(denoise, xt, None, levels, denoise):
            pass

    return run


def theirs(scheduler: DDIMScheduler | DPMSolverMultistepScheduler, xt: Tensor, x0: Tensor) -> Callable[[], None]:
    scheduler.set_timesteps(STEPS)
    timesteps = list(scheduler.timesteps)

    def run() -> None:
        if isinstance(scheduler, DPMSolverMultistepScheduler):
            # Only its step counter is reset: setting the timesteps again would cost more than the steps.
            scheduler.model_outputs = [None] * scheduler.config.solver_order
            scheduler.lower_order_nums, scheduler._step_index = 0, None
        x = xt
        for t in timesteps:
            x = scheduler.step(x0, t, x, return_dict=False)[0]

    return run


def bare(xt: Tensor, x0: Tensor) -> Callable[[], None]:
    """A lower bound: x0·a + xt·b as one product and one fused sum."""

    def run() -> None:
        x = xt
        for _ in range(STEPS):
            x = torch.add(x0 * 0.3, x, alpha=0.7)

    return run


def measure(contestants: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Contestant -> median microseconds a step."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(ROUNDS + 10):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if round_ >= 10:
                taken[name].append((time.perf_counter() - start) / STEPS * 1e6)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    xt, x0 = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    plain = {"prediction_type": "sample"}
    contestants = {
        "two tensor operations": bare(xt, x0),
        "unstir ddim": ours("ddim", xt, x0),
        "diffusers DDIMScheduler": theirs(DDIMScheduler(clip_sample=False, **plain), xt, x0),
        "unstir dpmpp_2m": ours("dpmpp_2m", xt, x0),
        "diffusers DPMSolverMultistep": theirs(DPMSolverMultistepScheduler(**plain), xt, x0),
    }
    with torch.inference_mode():
        medians = measure(contestants)
    floor = medians["two tensor operations"]
    print(f"{'':30s}{'µs a step':>10s}{'× bare':>9s}")
    for name, value in medians.items():
        print(f"{name:30s}{value:10.1f}{value / floor:9.1f}")
    verdict = "reached" if medians["unstir ddim"] <= GOAL else "missed"
    print(f"goal for unstir ddim, {GOAL:.0f} µs: {verdict}")


if __name__ == "__main__":
    main()
