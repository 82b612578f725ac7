"""unstir train: from a folder of captioned pictures to a model, within a budget of time."""

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from unstir.cli.training import Console, carry_on
from unstir.durations import parse_duration
from unstir.errors import UserError
from unstir.request import checked_device, checked_seed


def train(
    data: str,
    *,
    run: Path,
    budget: str | None = None,
    kind: str | None = None,
    size: Literal["s", "m", "l"] | None = None,
    clip: Annotated[bool, Parameter(negative=())] = False,
    recipe: str | None = None,
    start: Annotated[Path | None, Parameter(name="--from")] = None,
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    eval_clip: Annotated[Path | None, Parameter(name=["--eval-clip", "--judge"])] = None,
) -> None:
    """Train a model on DATA in the folder --run; the same command continues a run that was stopped.

    Started by torchrun, its processes train one model together (docs/distributed.md):
    torchrun --nproc-per-node 2 -m unstir -- train DATA --run RUN

    Parameters
    ----------
    data
        A folder of captioned pictures, webdataset shards (.tar), or the built-in sets "digits" and "shapes".
    run
        Folder of the run: checkpoint, samples, log, and the model for `unstir generate --model`.
    budget
        How long the command may take: 90s, 30m (the default), 2h.
    kind
        What to train: diffusion (the default) draws pictures from prompts; clip finds pictures by words.
    size
        Size of the network; the budget decides by default.
    clip
        The same as --kind clip.
    recipe
        A recipe by name instead of the automatic choice; it brings its own number of pictures.
    start
        Fine-tune a model, a file, a run folder, or "icons" for the default model: its network, size and words, and its
        weights to begin with. It is copied; the original stays as it is.
    seed
        Of the starting weights, the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files beside the log.
    eval_clip
        A CLIP, a model file, a run folder, or "icons" for the one that comes with unstir: at each evaluation it scores
        a few pictures that the model draws, into the log.
    """
    seconds = parse_duration("30m" if budget is None else budget)
    if clip and kind not in (None, "clip"):
        raise UserError(f"--clip and --kind {kind} contradict each other; leave out one of them")
    kind = "clip" if clip else kind
    if recipe is not None and (budget is not None or size is not None or kind is not None):
        raise UserError(
            "a --recipe brings its own kind, length and network; leave out --budget, --size, --kind and --clip, or the "
            "recipe"
        )
    if start is not None and (size is not None or kind is not None):
        raise UserError("a model to fine-tune (--from) has its kind and size already; leave out --size and --kind")
    checked_seed(seed)
    began = time.monotonic()
    chosen = checked_device(device)

    from unstir.models.paradigms import names
    from unstir.train.distributed import joined_processes
    from unstir.train.run_setup import RunSetup
    from unstir.train.session import Choice
    from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, resolve_default

    if kind is not None and kind not in names():
        raise UserError(f"there is no --kind {kind}; there are: {', '.join(names())}")
    by_recipe = None
    if recipe is not None:
        from unstir import recipes

        by_recipe = recipe, recipes.named_recipe(recipe)
    choice = Choice(by_recipe, start and resolve_default(start, DEFAULT), kind, size)
    eval_clip = eval_clip and resolve_default(eval_clip, DEFAULT_CLIP)
    with joined_processes(chosen) as own:
        setup = RunSetup(data, run, own, None if recipe else seconds, began, seed, Console())
        carry_on(setup, choice.begin, ["unstir", "train", data, "--run", str(run)], tensorboard, eval_clip)
