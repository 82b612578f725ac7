"""unstir evaluate: how good a model is, as a report."""

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
    from unstir.evaluate.run.features import ClipFeatures
    from unstir.evaluate.run.inputs import EvaluatedModel
    from unstir.evaluate.statistics.arrays import Floats
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

    The generated pictures are saved in the folder: after Ctrl-C the same command resumes, with the same result.

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
        How many pictures to generate, half of them for held-out captions. At most a third of the captions are prompts.
    held_out
        A text file that names what was held out, one a line: keys of pictures, or concept|family.
        Default: the list in the model file, if it has one.
    clip
        The CLIP to measure with, a model file or run folder. Default: the one for icons that comes with unstir.
    features
        What the distribution metrics are computed on: the CLIP's features, or raw pixels, which need no CLIP.
    seed
        Of the choice of captions; picture i is drawn with seed + i.
    steps
        Denoising steps. Default, here and below: the model's own.
    guidance
        Classifier-free guidance scale; 1 is off.
    sampler
        ddim, ddpm, blend, euler, heun, dpmpp_2m or sde.
    likelihood
        Also measure the bits per dimension of 64 real pictures of either side, which takes minutes.
    cache
        Folder of decoded pictures and their features, which evaluations of other models can share. Default: in --out.
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
    from unstir.evaluate.report.document import HTML_FILE, JSON_FILE, write_report
    from unstir.evaluate.report.text import report_lines
    from unstir.evaluate.run.held_out import held_out_of_notes, read_held_out_list
    from unstir.evaluate.run.real_pictures import open_real_pictures
    from unstir.weights.model_file import load_model

    if held_out is not None and data in BUILT_IN and not Path(data).exists():
        raise UserError(f"the built-in set {data} knows what it holds out; leave out --held-out")
    loaded = load_model(model, device, steps=steps)
    sampling = _sampling(loaded.sampling, steps, guidance, sampler)
    evaluated = _evaluated_model(loaded, sampling, likelihood)
    cache = cache or out
    clip_features = _clip_features(clip, features, device, cache)
    entries = read_held_out_list(held_out) if held_out is not None else held_out_of_notes(loaded.notes)
    try:
        real = open_real_pictures(data, loaded.model.shape, entries, cache / "real", _stage)
        split = real.split
        if split.unknown:
            say(f"note: {len(split.unknown)} entries of the held-out list match no picture, such as {split.unknown[0]}")
        if not len(split.held_out):
            say("note: nothing is known to be held out; name it with --held-out to see what the model generalises to")
        settings = _settings(evaluated, sampling, data) | {"features": features}
        settings["CLIP"] = None if clip_features is None else clip_features.identity
        report = measure(evaluated, real, n, seed, clip_features, features, out, settings, _stage)
    except KeyboardInterrupt:
        say(f"\nthe pictures so far are saved in {out}; the same command resumes")
        raise
    write_report(out, report)
    if json:
        print((out / JSON_FILE).read_text(encoding="utf-8"), end="")
    else:
        print(*report_lines(report), sep="\n")
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
    """The model's own settings, but for those that were given."""
    given = {"steps": steps, "guidance_scale": guidance, "sampler": sampler}
    return replace(own, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _evaluated_model(loaded: "Loaded", sampling: "Sampling", likelihood: bool) -> "EvaluatedModel":
    """The model as what is evaluated. UserError for settings that do not exist or do not fit together."""
    import torch

    from unstir.evaluate.metrics.likelihood import bits_per_dim_of
    from unstir.evaluate.run.generation import batch_drawer, check_prompts
    from unstir.evaluate.run.inputs import EvaluatedModel
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

    def bits(pictures: "Pictures", seeds: Sequence[int], done: Callable[[float], None]) -> "Floats":
        return bits_per_dim_of(load_model(loaded.path, str(model.device), torch.float32).model)(pictures, seeds, done)

    return EvaluatedModel(
        name, draw, request, lambda prompts: check_prompts(model, prompts), bits if likelihood else None
    )


def _settings(evaluated: "EvaluatedModel", sampling: "Sampling", data: str) -> dict[str, object]:
    """What a reader needs to repeat the evaluation. Of the rarer settings those that are not the default."""
    made = evaluated.request
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


def _clip_features(clip: Path | None, features: str, device: str, cache: Path) -> "ClipFeatures | None":
    """The CLIP to measure with; None where none is named and none needed."""
    from unstir.evaluate.run.cache import ArrayCache
    from unstir.evaluate.run.features import ClipFeatures
    from unstir.weights.model_file import DEFAULT_CLIP, find_model, load_clip

    if clip is None and features == "raw":
        return None
    if clip is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation has no CLIP; name one with --clip, or measure with --features raw")
    path = find_model(clip or DEFAULT_CLIP)
    identity = f"{_stem(path)} {fingerprint(path)}"
    return ClipFeatures(load_clip(path, device), identity, ArrayCache(cache / "vectors"))


@contextmanager
def _stage(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar with rate and time left; where there is no terminal, a line now and then."""
    began = reported = time.monotonic()
    with bar(what, total) as progress:

        def advance(done: float) -> None:
            nonlocal reported
            now = time.monotonic()
            rate = done / (now - began) if now > began else 0.0
            words = f"{done:,.0f} of {total:,.0f}, {rate:.3g} a second"
            progress(done, words)
            if not progress.shown and now - reported > _QUIET and rate:
                reported = now
                say(f"{what}: {words}, {duration((total - done) / rate)} left")

        yield advance
