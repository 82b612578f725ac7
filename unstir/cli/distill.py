"""unstir distill: from a model that draws in many steps to one that draws in four."""

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
    """Distil a model to four steps without guidance, which draw what took it many steps with its own guidance.

    The same command continues a run that was stopped. Started by torchrun, its processes train one model together
    (docs/distributed.md): torchrun --nproc-per-node 2 -m unstir -- distill DATA --from MODEL --run RUN

    Parameters
    ----------
    data
        Captioned pictures like those that it was trained on, or a run folder: then the very same.
    model
        The model to distil: a file, a run folder, or "icons" for the default model. It is copied; the original stays as
        it is.
    run
        Folder of the new run.
    budget
        How long the command may take: 90s, 30m, 2h.
    seed
        Of the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files beside the log.
    eval_clip
        A CLIP, a model file, a run folder, or "icons" for the one that comes with unstir: at each evaluation it scores
        a few pictures that the model draws, into the log.
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
