"""unstir evaluate: measure a model and write a report."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from unstir.cli.progress import say
from unstir.cli.setting_options import given, setting_options
from unstir.cli.training import Console

SettingOptions = setting_options("size", "negative")
NONE_GIVEN = SettingOptions()


def evaluate(
    model: Path,
    data: str,
    *,
    out: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 1000,
    held_out: Path | None = None,
    clip: Path | None = None,
    features: Literal["clip", "raw"] = "clip",
    seed: int = 0,
    settings: SettingOptions = NONE_GIVEN,  # type: ignore[valid-type]
    likelihood: bool = True,
    ode_likelihood: int = 0,
    cache: Path | None = None,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure MODEL against the captioned pictures in DATA; writes report.json and report.html.

    Generated pictures are saved in the folder of the report: after Ctrl-C the same command resumes, with the same
    result. Default settings are those of the model.

    Parameters
    ----------
    model
        A model file, or the folder of a run.
    data
        The training pictures together with the held-out ones: a folder of captioned pictures, webdataset shards (.tar),
        or the built-in sets "digits" and "shapes".
    out
        Folder of the report. Default: evaluation/NAME-OF-THE-MODEL.
    n
        How many pictures to generate, half of them for held-out captions. At most a third of the captions are prompts.
    held_out
        A text file that lists the held-out pictures, one a line: keys of pictures, or concept|family.
        Default: the list in the model file, if it has one.
    clip
        The CLIP to measure with, a model file or run folder. Default: the one for icons that comes with unstir.
    features
        What the distribution metrics are computed on: the CLIP's features, or raw pixels, which need no CLIP.
    seed
        Seed of the choice of captions; picture i is drawn with seed + i.
    likelihood
        Also measure the bits per dimension of 64 training and 64 held-out pictures, which takes minutes.
    ode_likelihood
        For so many of these pictures on either side, also measure them by the probability flow of a diffusion model,
        in a few hundred passes a picture. 0: none.
    cache
        Folder for decoded pictures and their features; evaluations of several models can share it. Default: in --out.
    device
        cpu, cuda, or auto.
    json
        Print the report as JSON instead of a table.
    """
    from unstir.evaluate.report.document import HTML_FILE, JSON_FILE
    from unstir.evaluate.report.text import report_lines
    from unstir.evaluation import measured

    report, folder = measured(
        model,
        data,
        out=out,
        n=n,
        held_out=held_out,
        clip=clip,
        features=features,
        seed=seed,
        likelihood=likelihood,
        ode_likelihood=ode_likelihood,
        cache=cache,
        device=device,
        reporter=Console(),
        settings=given(settings),
    )
    if json:
        print((folder / JSON_FILE).read_text(encoding="utf-8"), end="")
    else:
        print(*report_lines(report), sep="\n")
    say(f"written: {folder / HTML_FILE}")
