"""unstir distill: distil a diffusion model to four steps."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unstir.cli.training import Console, carry_on
from unstir.durations import parse_duration
from unstir.request import checked_device, checked_seed


def distill(
    data: str,
    *,
    model: Annotated[Path, Parameter(name="--from")],
    run: Path,
    budget: str = "30m",
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    eval_clip: Annotated[Path | None, Parameter(name=["--eval-clip", "--judge"])] = None,
) -> None:
    """Distil a diffusion model to four steps, without guidance.

    The same command resumes a run that was stopped. On several GPUs, start it with torchrun (docs/distributed.md):
    torchrun --nproc-per-node 2 -m unstir -- distill DATA --from MODEL --run RUN

    Parameters
    ----------
    data
        Captioned pictures like the training pictures of the model, or its run folder for the same pictures.
    model
        The model to distil: a file, a run folder, or "icons" for the default model. It is copied; the original is not
        changed.
    run
        Folder of the new run.
    budget
        Maximum duration of the command: 90s, 30m, 2h.
    seed
        Seed of the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files too.
    eval_clip
        A CLIP that scores a few drawn pictures at each evaluation; the scores are in the log. A model file, a run
        folder, or "icons" for the one that comes with unstir.
    """
    seconds = parse_duration(budget)
    checked_seed(seed)
    began = time.monotonic()
    chosen = checked_device(device)

    from unstir.train.begin import begin_distillation
    from unstir.train.distributed import joined_processes
    from unstir.train.run_setup import RunSetup
    from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, resolve_default

    source = resolve_default(model, DEFAULT)
    eval_clip = eval_clip and resolve_default(eval_clip, DEFAULT_CLIP)
    with joined_processes(chosen) as own:
        setup = RunSetup(data, run, own, seconds, began, seed, Console())
        command = ["unstir", "distill", data, "--from", str(model), "--run", str(run)]
        carry_on(setup, lambda setup: begin_distillation(setup, source), command, tensorboard, eval_clip)
