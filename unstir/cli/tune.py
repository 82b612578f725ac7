"""unstir tune: from a model that draws in many steps to one that draws in four."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unstir.cli.drawing import checked_device
from unstir.cli.training import carry_on, checked_seed, parse_duration


def tune(
    data: str,
    *,
    model: Annotated[Path, Parameter(name="--from")],
    run: Path,
    budget: str = "30m",
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    judge: Path | None = None,
) -> None:
    """Tune a model on DATA until four steps without guidance draw what took it many, with its own guidance.

    The same command continues a run that was stopped. Started by torchrun, its processes tune one model together.

    Parameters
    ----------
    data
        Captioned pictures like those that it was trained on, or a run folder: then the very same.
    model
        The model to tune: a file, a run folder, or "icons" for the default model. It is copied; the original stays as
        it is.
    run
        Folder of the new run.
    budget
        How long to tune: 90s, 30m, 2h.
    seed
        Of the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files beside the log.
    judge
        A CLIP, a model file, a run folder, or "icons" for the one that comes with unstir: it scores a few pictures at
        every look, into the log.
    """
    seconds = parse_duration(budget)
    checked_seed(seed)
    began = time.monotonic()
    chosen = checked_device(device)

    from unstir.cli.planning import plan_tuning
    from unstir.train.distributed import joined_processes
    from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, resolve_default

    source = resolve_default(model, DEFAULT)
    judge = judge and resolve_default(judge, DEFAULT_CLIP)
    with joined_processes(chosen) as own:

        def plan() -> None:
            plan_tuning(data, source, run, seconds, seed=seed, device=own, began=began)

        command = ["unstir", "tune", data, "--from", str(model), "--run", str(run)]
        carry_on(data, run, own, plan, command, tensorboard, judge)
