"""unstir train: from a folder of captioned pictures to a model, within a budget of time."""

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from unstir.cli.drawing import checked_device
from unstir.cli.training import carry_on, checked_seed, parse_duration
from unstir.errors import UserError


def train(
    data: str,
    *,
    run: Path,
    budget: str | None = None,
    size: Literal["s", "m", "l"] | None = None,
    clip: bool = False,
    recipe: str | None = None,
    start: Annotated[Path | None, Parameter(name="--from")] = None,
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    judge: Path | None = None,
) -> None:
    """Train a model on DATA in the folder --run; the same command continues a run that was stopped.

    Started by torchrun, its processes train one model together: torchrun --nproc-per-node 2 -m unstir train …

    Parameters
    ----------
    data
        A folder of captioned pictures, webdataset shards (.tar), or the built-in sets "digits" and "shapes".
    run
        Folder of the run: checkpoint, samples, log, and the model for `unstir generate --model`.
    budget
        How long to train: 90s, 30m (if left out), 2h. It becomes a number of pictures once, at the beginning.
    size
        Size of the network; left out, the budget decides.
    clip
        Train a CLIP, which finds pictures by words, instead of a model that draws.
    recipe
        A recipe by name instead of the automatic choice; it brings its own number of pictures.
    start
        A model to go on from, a file, a run folder, or "icons" for the default model: its network, size and words, its
        weights to begin with. It is copied; the original stays as it is.
    seed
        Of the starting weights, the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files beside the log.
    judge
        A CLIP, a model file, a run folder, or "icons" for the one that comes with unstir: it scores a few pictures at
        every look, into the log.
    """
    seconds = parse_duration("30m" if budget is None else budget)
    if recipe is not None and (budget is not None or size is not None or clip):
        raise UserError(
            "a --recipe brings its own length and network; leave out --budget, --size and --clip, or the recipe"
        )
    if start is not None and (size is not None or clip):
        raise UserError("a model to go on from (--from) has its size already, and draws; leave out --size and --clip")
    checked_seed(seed)
    began = time.monotonic()
    chosen = checked_device(device)

    from unstir.cli.planning import follow, plan_further, plan_run
    from unstir.train.distributed import joined_processes
    from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, resolve_default

    start = start and resolve_default(start, DEFAULT)
    judge = judge and resolve_default(judge, DEFAULT_CLIP)
    with joined_processes(chosen) as own:

        def plan() -> None:
            if recipe is not None:
                follow(data, run, recipe, seed, start)
            elif start is not None:
                plan_further(data, start, run, seconds, seed=seed, device=own, began=began)
            else:
                plan_run(data, run, seconds, size=size, clip=clip, seed=seed, device=own, began=began)

        carry_on(data, run, own, plan, ["unstir", "train", data, "--run", str(run)], tensorboard, judge)
