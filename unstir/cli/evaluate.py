"""unstir evaluate: how good a model is, on a page."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unstir import __version__
from unstir.cli.drawing import checked_device, fingerprint
from unstir.cli.progress import bar, duration, say
from unstir.errors import UserError

if TYPE_CHECKING:
    from unstir.data.pictures import Pictures
    from unstir.diffusion.chain import Bound
    from unstir.evaluate.material import Subject
    from unstir.evaluate.vectors import ClipVectors
    from unstir.models.diffusion import Sampling
    from unstir.weights.model_file import Loaded

_QUIET = 30.0  # seconds between two lines where no terminal shows a bar


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
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    likelihood: bool = True,
    cache: Path | None = None,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure MODEL against the captioned pictures in DATA; writes report.json and report.html.

    What was drawn is kept in the folder: the same command goes on after Ctrl-C, and gives the same numbers.

    Parameters
    ----------
    model
        A model file, or the folder of a run.
    data
        What the model was trained on, together with what was held out: a folder of captioned pictures, webdataset
        shards (.tar), or the built-in sets "digits" and "shapes".
    out
        Folder of the report. Default: evaluation/NAME-OF-THE-MODEL.
    n
        How many pictures to draw, half of them for held-out captions. At most half of the pictures lend theirs.
    held_out
        A text file that names what was held out, one a line: keys of pictures, or concept|family.
        Default: what the model file says, if it does.
    clip
        The CLIP that judges, a model file or run folder. Default: the one for icons that comes with unstir.
    features
        What likeness is measured on: the CLIP's vectors, or raw pixels. With raw, no CLIP is needed.
    seed
        Of the choice of captions; picture i is drawn with seed + i.
    steps
        Denoising steps. Default, here and below: the model's own.
    guidance
        How strongly to follow the words; 1 is off.
    sampler
        ddim, ddpm, blend, euler, heun, dpmpp_2m or sde.
    likelihood
        Also measure the bits per number of a few real pictures, which takes a while.
    cache
        Folder of decoded pictures and their vectors, which evaluations of other models can share. Default: in --out.
    device
        cpu, cuda, or auto.
    json
        Print the report as JSON in place of the table.
    """
    out = out or Path("evaluation") / _stem(model)
    _check(n, seed, steps, guidance, out, cache or out)
    device = checked_device(device)

    from unstir.data.named import BUILT_IN
    from unstir.evaluate.evaluation import evaluate as measure
    from unstir.evaluate.held_out import noted, read_list
    from unstir.evaluate.plain import lines
    from unstir.evaluate.real import open_real
    from unstir.evaluate.report import HTML_FILE, JSON_FILE, write_report
    from unstir.weights.model_file import load_model

    if held_out is not None and data in BUILT_IN and not Path(data).exists():
        raise UserError(f"the built-in set {data} knows what it holds out; leave out --held-out")
    loaded = load_model(model, device, steps=steps)
    sampling = _sampling(loaded.sampling, steps, guidance, sampler)
    subject = _subject(loaded, sampling, likelihood)
    cache = cache or out
    judge = _judge(clip, features, device, cache)
    entries = read_list(held_out) if held_out is not None else noted(loaded.notes)
    try:
        real = open_real(data, loaded.model.shape, entries, cache / "real", _stage)
        split = real.split
        if split.unknown:
            say(f"note: {len(split.unknown)} entries of the list are on no picture, {split.unknown[0]} among them")
        if not len(split.held_out):
            say("note: nothing is known to be held out; name it with --held-out to see what was learned, not kept")
        settings = _settings(subject, sampling, data) | {"features": features}
        settings["CLIP"] = None if judge is None else judge.identity
        report = measure(subject, real, n, seed, judge, features, out, settings, _stage)
    except KeyboardInterrupt:
        say(f"\nwhat was drawn is kept in {out}; the same command goes on")
        raise
    write_report(out, report)
    if json:
        print((out / JSON_FILE).read_text(encoding="utf-8"), end="")
    else:
        print(*lines(report), sep="\n")
    say(f"written: {out / HTML_FILE}")


def _check(n: int, seed: int, steps: int | None, guidance: float | None, *folders: Path) -> None:
    """Refuse before anything is loaded what no model can do."""
    if n < 2:
        raise UserError(f"-n must be 2 or more, got {n}")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed must be 0 to {2**32 - 1}, got {seed}")
    if steps is not None and steps < 1:
        raise UserError(f"--steps must be 1 or more, got {steps}")
    if guidance is not None and not math.isfinite(guidance):
        raise UserError(f"--guidance must be a finite number, got {guidance}")
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder")


def _stem(model: Path) -> str:
    """The name of a model: of its file, or of the folder of its run."""
    path = model.resolve()
    return path.parent.name if path.stem == "model" else path.stem


def _sampling(own: "Sampling", steps: int | None, guidance: float | None, sampler: str | None) -> "Sampling":
    """The model's own dials, but for those that were named."""
    dials = {"steps": steps, "guidance_scale": guidance, "sampler": sampler}
    return replace(own, **{name: value for name, value in dials.items() if value is not None})  # type: ignore[arg-type]


def _subject(loaded: "Loaded", sampling: "Sampling", likelihood: bool) -> "Subject":
    """The model as what is evaluated. UserError for dials that do not exist or do not fit together."""
    import torch

    from unstir.evaluate.generation import batch_drawer, check_prompts
    from unstir.evaluate.likelihood import bits_of
    from unstir.evaluate.material import Subject
    from unstir.weights.model_file import load_model

    model = loaded.model
    name = str(loaded.notes.get("name", _stem(loaded.path)))
    try:
        draw = batch_drawer(model, sampling)
    except ValueError as error:
        raise UserError(str(error)) from None
    request = {
        "model": name,
        "model_hash": fingerprint(loaded.path),
        "size": model.shape[-1],
        **asdict(sampling),
        "interval": list(sampling.interval),  # as JSON gives it back
        "device": model.device.type,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "version": __version__,
    }

    def bits(pictures: "Pictures", seeds: Sequence[int]) -> "Bound":
        return bits_of(load_model(loaded.path, str(model.device), torch.float32).model)(pictures, seeds)

    return Subject(name, draw, request, lambda prompts: check_prompts(model, prompts), bits if likelihood else None)


def _settings(subject: "Subject", sampling: "Sampling", data: str) -> dict[str, object]:
    """What a reader needs to do it again. Of the rarer dials those that are set."""
    made = subject.request
    rare = {"interval": "guidance interval", "spacing": "spacing", "shift": "shift", "threshold": "threshold"}
    usual = type(sampling)()
    return {
        "data": data,
        "model": f"{made['model']} {made['model_hash']}",
        "size": f"{made['size']} px",
        "steps": sampling.steps,
        "sampler": sampling.sampler,
        "guidance": sampling.guidance_scale,
        **{word: made[name] for name, word in rare.items() if getattr(sampling, name) != getattr(usual, name)},
        "device": f"{made['device']}, {made['dtype']}",
        "version": made["version"],
    }


def _judge(clip: Path | None, features: str, device: str, cache: Path) -> "ClipVectors | None":
    """The CLIP that judges; None where none is asked for and none needed."""
    from unstir.evaluate.shelf import Shelf
    from unstir.evaluate.vectors import ClipVectors
    from unstir.weights.model_file import DEFAULT_CLIP, find_model, load_clip

    if clip is None and features == "raw":
        return None
    if clip is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation ships no CLIP; name one with --clip, or measure by --features raw")
    path = find_model(clip or DEFAULT_CLIP)
    identity = f"{_stem(path)} {fingerprint(path)}"
    return ClipVectors(load_clip(path, device), identity, Shelf(cache / "vectors"))


@contextmanager
def _stage(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar with rate and time left; where there is no terminal, a line now and then."""
    began = told = time.monotonic()
    with bar(what, total) as progress:

        def tell(done: float) -> None:
            nonlocal told
            now = time.monotonic()
            rate = done / (now - began) if now > began else 0.0
            words = f"{done:,.0f} of {total:,.0f}, {rate:.3g} a second"
            progress(done, words)
            if not progress.shown and now - told > _QUIET and rate:
                told = now
                say(f"{what}: {words}, {duration((total - done) / rate)} left")

        yield tell
