"""unstir compare: kinds of model trained for the same time on the same pictures, in one table."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unstir.cli.progress import say
from unstir.cli.training import Console


def compare(
    data: str,
    *,
    out: Path = Path("comparison"),
    kinds: str = "",
    budget: str = "10m",
    n: Annotated[int, Parameter(alias="-n")] = 500,
    seeds: int = 1,
    seed: int = 0,
    pixels: int | None = None,
    device: str = "auto",
) -> None:
    """Train several kinds of model for the same time on DATA, measure all in the same way, and write one page.

    What is finished is kept in the folder --out: after Ctrl-C the same command continues.

    Parameters
    ----------
    data
        A folder of captioned pictures, webdataset shards (.tar), or the built-in sets "digits" and "shapes".
    out
        Folder for the runs, the results (compare.json) and the page (compare.html).
    kinds
        Kinds of model, with commas between them: diffusion,gan,vae. Default: all that draw. More can be added later.
    budget
        Duration of the training of each model, all of its stages together: 5m, 1h. Two evaluators take half of it each.
    n
        Pictures to draw with each model.
    seeds
        How many times each kind is trained, each time with another seed.
    seed
        The first of the seeds.
    pixels
        Side of the pictures. Default: chosen by the data and the budget.
    device
        cpu, cuda, or auto.
    """
    from unstir.compare.page import HTML_FILE
    from unstir.compare.training import TrainingStopped
    from unstir.comparison import compare as run

    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    try:
        run(
            data,
            out,
            kinds=chosen or None,
            budget=budget,
            n=n,
            seeds=seeds,
            seed=seed,
            pixels=pixels,
            device=device,
            reporter=Console(),
        )
    except TrainingStopped:
        say(f"stopped; the same command continues: {shlex.join(['unstir', 'compare', data, '--out', str(out)])} …")
        return
    say(f"written: {out / HTML_FILE}")
