"""unstir train: train a model on captioned pictures within a time budget."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unstir.cli.progress import say
from unstir.cli.training import Console, carry_on
from unstir.durations import parse_duration
from unstir.errors import UserError
from unstir.request import checked_device, checked_seed

if TYPE_CHECKING:
    from unstir.train.session import Choice


def train(
    data: str,
    *,
    run: Path,
    budget: str | None = None,
    kind: str | None = None,
    size: Literal["s", "m", "l"] | None = None,
    autoencoder: Path | None = None,
    clip: Path | None = None,
    text_encoder: Path | None = None,
    recipe: str | None = None,
    start: Annotated[Path | None, Parameter(name="--from")] = None,
    seed: int = 0,
    device: str = "auto",
    tensorboard: bool = False,
    eval_clip: Annotated[Path | None, Parameter(name=["--eval-clip", "--judge"])] = None,
) -> None:
    """Train a model on DATA in the folder --run; the same command resumes a run that was stopped.

    On several GPUs, start it with torchrun (docs/distributed.md):
    torchrun --nproc-per-node 2 -m unstir -- train DATA --run RUN

    Parameters
    ----------
    data
        A folder of captioned pictures, webdataset shards (.tar), or the built-in sets "digits" and "shapes".
    run
        Folder of the run: checkpoint, samples, log, and the model for `unstir generate --model`.
    budget
        Maximum duration of the command: 90s, 30m (the default), 2h.
    kind
        What to train. Drawing pictures from prompts (docs/paradigms.md): diffusion (the default), latent, vae, vqvae,
        maskgit, unclip, cascade, pixelcnn, pixelrnn, previous-step. Others: autoencoder encodes pictures; clip compares
        pictures with texts; classifier names the words of a picture. A model in several stages trains them one after
        the other.
    size
        Size of the network. Default: chosen by the budget.
    autoencoder
        A trained autoencoder to build on, instead of training one: a model file or a run folder.
    clip
        A trained CLIP: unclip and cascade are built on it instead of training one; an autoencoder, also that of
        latent, vqvae and maskgit, is trained with a perceptual distance in its features. A model file, a run folder,
        or "icons" for the CLIP that comes with unstir. (To train a CLIP: --kind clip.)
    text_encoder
        A folder with a text encoder of the library transformers (T5, BERT, ...), for a cascade, instead of training a
        CLIP.
    recipe
        The name of a recipe, instead of the automatic choice; it sets the number of pictures.
    start
        The model to fine-tune: a file, a run folder, or "icons" for the default model. Network, picture size and
        tokenizer are kept. The model is copied; the original is not changed.
    seed
        Seed of the initial weights, the order of the pictures, and the noise.
    device
        cpu, cuda, or auto.
    tensorboard
        Write TensorBoard files too.
    eval_clip
        A CLIP that scores a few drawn pictures at each evaluation; the scores are in the log. A model file, a run
        folder, or "icons" for the one that comes with unstir.
    """
    seconds = parse_duration("30m" if budget is None else budget)
    if recipe is not None and (budget is not None or size is not None or kind is not None):
        raise UserError(
            "--recipe sets the kind, the length and the network; omit --budget, --size and --kind, or --recipe"
        )
    if start is not None and (size is not None or kind is not None):
        raise UserError("--from sets the kind and the size; omit --size and --kind")
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
    given = {
        "autoencoder": autoencoder,
        "clip": clip and resolve_default(clip, DEFAULT_CLIP),
        "text-encoder": text_encoder,
    }
    stages = {name: path for name, path in given.items() if path is not None}
    choice = Choice(by_recipe, start and resolve_default(start, DEFAULT), kind, size, stages)
    eval_clip = eval_clip and resolve_default(eval_clip, DEFAULT_CLIP)
    with joined_processes(chosen) as own:
        setup = RunSetup(data, run, own, None if recipe else seconds, began, seed, Console())
        command = ["unstir", "train", data, "--run", str(run)]
        for stage in choice.stages(setup):
            say(stage.title)
            if not carry_on(stage.setup, stage.begin, _command(command, choice), tensorboard, last=False):
                return
            setup = replace(setup, began=time.monotonic())
        carry_on(setup, choice.begin, command, tensorboard, eval_clip)


def _command(command: list[str], choice: "Choice") -> list[str]:
    """The command that resumes a run in one of its earlier stages: it must be told the same kind or recipe again."""
    if choice.recipe is not None:
        return [*command, "--recipe", choice.recipe[0]]
    given = [part for name, path in choice.given.items() for part in (f"--{name}", str(path))]
    return [*command, "--kind", choice.trained_kind, *given]
