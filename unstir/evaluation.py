"""`unstir.evaluate`: an evaluation as a function, from a model file and a folder of pictures to a report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.data.built_in import BUILT_IN
from unstir.errors import UserError
from unstir.evaluate.evaluation import Features, evaluate_autoencoder, evaluate_model
from unstir.evaluate.metrics.likelihood import BitsPerDim, bits_per_dim_of, ode_bits_of
from unstir.evaluate.report.document import JSON_FILE, EvaluationReport, write_report
from unstir.evaluate.report.reconstruction_section import Reconstruct
from unstir.evaluate.run.cache import ArrayCache
from unstir.evaluate.run.features import ClipFeatures
from unstir.evaluate.run.generation import batch_drawer, check_captions
from unstir.evaluate.run.held_out import held_out_of_notes, read_held_out_list
from unstir.evaluate.run.inputs import EvaluatedModel
from unstir.evaluate.run.real_pictures import RealPictures, open_real_pictures
from unstir.models.generative import LikelihoodModel, OdeLikelihoodModel
from unstir.request import Request, checked_device, checked_seed, fingerprint, request_of
from unstir.train.run_setup import Reporter, Silent
from unstir.weights.model_file import (
    DEFAULT_CLIP,
    Loaded,
    find_model,
    kind_of_file,
    load_clip,
    load_kind,
    load_model,
    notes_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unstir.data.pictures import Pictures
    from unstir.evaluate.statistics.arrays import Floats

Prepared = tuple[tuple[int, int, int], dict[str, Any], Callable[..., EvaluationReport]]

SHOWN = ("steps", "sampler", "guidance_scale")
"""Settings that a report always names, where the kind of model has them; others only where they are not the default."""


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    n: int = 1000,
    held_out: str | Path | None = None,
    clip: str | Path | None = None,
    features: Features = "clip",
    seed: int = 0,
    likelihood: bool = True,
    ode_likelihood: int = 0,
    cache: str | Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure a model against captioned pictures, and write report.json and report.html.

    model: a model file, or the folder of a run.
    data, out, n, held_out, clip, features, seed, likelihood, ode_likelihood, cache: as `unstir evaluate --help` says.
    reporter: is told what goes on; None: nobody.
    settings: what to draw with, as `steps=8`; the model's own by default.
    Returns what report.json holds. Raises UserError for what cannot be.
    """
    _, folder = measured(
        Path(model),
        str(data),
        out=None if out is None else Path(out),
        n=n,
        held_out=None if held_out is None else Path(held_out),
        clip=None if clip is None else Path(clip),
        features=features,
        seed=seed,
        likelihood=likelihood,
        ode_likelihood=ode_likelihood,
        cache=None if cache is None else Path(cache),
        device=device,
        reporter=reporter or Silent(),
        settings=settings,
    )
    report: dict[str, Any] = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
    return report


def measured(
    model: Path,
    data: str,
    *,
    out: Path | None,
    n: int,
    held_out: Path | None,
    clip: Path | None,
    features: Features,
    seed: int,
    likelihood: bool,
    ode_likelihood: int,
    cache: Path | None,
    device: str,
    reporter: Reporter,
    settings: dict[str, Any],
) -> tuple[EvaluationReport, Path]:
    """As `evaluate`: the report, and the folder that it was written to."""
    out = out or Path("evaluation") / _stem(model)
    cache = cache or out
    _check(n, seed, out, cache)
    device = checked_device(device)
    if held_out is not None and data in BUILT_IN and not Path(data).exists():
        raise UserError(f"the built-in set {data} knows what it holds out; leave out --held-out")
    if ode_likelihood and (ode_likelihood < 2 or not likelihood):
        raise UserError("--ode-likelihood takes 2 pictures or more, and is measured beside the bound")
    clip_features = _clip_features(clip, features, device, cache)
    path = find_model(model)
    prepare = _autoencoder_measure if kind_of_file(path).name == "autoencoder" else _model_measure
    shape, notes, measure = prepare(path, data, device, seed, likelihood, ode_likelihood, settings)
    entries = read_held_out_list(held_out) if held_out is not None else held_out_of_notes(notes)
    try:
        real = open_real_pictures(data, shape, entries, cache / "real", reporter.stage)
        split = real.split
        if split.unknown:
            reporter.say(
                f"note: {len(split.unknown)} entries of the held-out list match no picture, such as {split.unknown[0]}"
            )
        if not len(split.held_out):
            reporter.say(
                "note: nothing is known to be held out; name it with --held-out to see what the model generalises to"
            )
        report = measure(real, n, clip_features, features, out, reporter)
    except KeyboardInterrupt:
        reporter.say(f"\nthe pictures so far are saved in {out}; the same command resumes")
        raise
    write_report(out, report)
    return report, out


def _model_measure(
    path: Path, data: str, device: str, seed: int, likelihood: bool, ode_likelihood: int, settings: dict[str, Any]
) -> Prepared:
    """Of a model that draws: the shape of its pictures, its notes, and the function that measures it."""
    loaded = load_model(path, device, steps=settings.get("steps"))
    if ode_likelihood and not isinstance(loaded.model, OdeLikelihoodModel):
        raise UserError(f"{loaded.title} has no likelihood by an ODE; omit --ode-likelihood")
    request = request_of(loaded, "", seed, **settings)
    evaluated = _evaluated_model(loaded, request, likelihood, ode_likelihood)

    def measure(
        real: RealPictures, n: int, clip: ClipFeatures | None, features: Features, out: Path, reporter: Reporter
    ) -> EvaluationReport:
        facts = _settings(loaded, request, Path(data).name) | {"features": features}
        facts["CLIP"] = None if clip is None else clip.identity
        return evaluate_model(evaluated, real, n, seed, clip, features, out, facts, reporter.stage)

    return loaded.model.shape, loaded.notes, measure


def _autoencoder_measure(
    path: Path, data: str, device: str, seed: int, _likelihood: bool, ode_likelihood: int, settings: dict[str, Any]
) -> Prepared:
    """As `_model_measure`, of an autoencoder. UserError where there are settings for drawing."""
    if settings:
        raise UserError(f"an autoencoder draws nothing and has no setting {', '.join(settings)}; omit it")
    if ode_likelihood:
        raise UserError("an autoencoder has no likelihood by an ODE; omit --ode-likelihood")
    model = load_kind(path, "autoencoder", device)

    def measure(
        real: RealPictures, _n: int, clip: ClipFeatures | None, features: Features, _out: Path, reporter: Reporter
    ) -> EvaluationReport:
        facts = {"data": Path(data).name, "model": f"{_stem(path)} {fingerprint(path)}", "features": features}
        on = clip if features == "clip" else None
        return evaluate_autoencoder(_stem(path), _reconstruct(model), real, seed, on, facts, reporter.stage)

    return model.shape, notes_of(path), measure


def _check(n: int, seed: int, *folders: Path) -> None:
    """Refuse before anything is loaded what no model can do."""
    if n < 2:
        raise UserError(f"-n must be 2 or more, got {n}")
    checked_seed(seed)
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder")


def _stem(model: Path) -> str:
    """The name of a model: of its file, or of the folder of its run."""
    path = model.resolve()
    return path.parent.name if path.stem == "model" else path.stem


def _evaluated_model(loaded: Loaded[Any], request: Request, likelihood: bool, ode_count: int) -> EvaluatedModel:
    """The model as what is evaluated."""
    model = loaded.model
    values = {name: value for name, value in request.values().items() if name not in ("prompt", "seed")}

    def bits(
        measure: Callable[[Any], BitsPerDim],
        pictures: "Pictures",
        seeds: Sequence[int],
        done: Callable[[float], None],
    ) -> "Floats":
        import torch

        exact = load_model(loaded.path, str(model.device), torch.float32).model
        return measure(exact)(pictures, seeds, done)

    return EvaluatedModel(
        loaded.name,
        batch_drawer(model, request.settings),
        values,
        lambda captions: check_captions(model, captions),
        partial(bits, bits_per_dim_of) if likelihood and isinstance(model, LikelihoodModel) else None,
        _reconstruct_of(loaded),
        partial(bits, ode_bits_of) if ode_count else None,
        ode_count,
    )


def _reconstruct(autoencoder: Any) -> Reconstruct:
    """A function that encodes and decodes a picture."""

    def reconstruct(pixels: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        import torch

        made: NDArray[np.uint8] = autoencoder.decode(autoencoder.encode(torch.from_numpy(pixels.copy())))
        return made

    return reconstruct


def _reconstruct_of(loaded: Loaded[Any]) -> Reconstruct | None:
    """`_reconstruct` in float32, where the model has an autoencoder."""
    import torch

    from unstir.models.autoencoder import Autoencoder

    if not isinstance(getattr(loaded.model, "codec", None), Autoencoder):
        return None
    exact = load_model(loaded.path, str(loaded.model.device), torch.float32).model
    return _reconstruct(exact.codec)


def _settings(loaded: Loaded[Any], request: Request, data: str) -> dict[str, object]:
    """What a reader needs to repeat the evaluation. Of the rarer settings those that are not the default."""
    known, usual = request.settings.table(), type(request.settings)()
    named = {
        known[f.name].option.replace("-", " ") or f.name: getattr(request.settings, f.name)
        for f in fields(request.settings)
        if f.name in SHOWN or (f.name != "size" and getattr(request.settings, f.name) != getattr(usual, f.name))
    }
    return {
        "data": data,
        "model": f"{request.model} {request.model_hash}",
        "size": f"{loaded.model.shape[1]} px",
        **named,
        "device": f"{request.device}, {request.dtype}",
        "version": request.version,
    }


def _clip_features(clip: Path | None, features: str, device: str, cache: Path) -> ClipFeatures | None:
    """The CLIP to measure with; None where none is named and none needed."""
    if clip is None and features == "raw":
        return None
    if clip is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation has no CLIP; name one with --clip, or measure with --features raw")
    path = find_model(clip or DEFAULT_CLIP)
    identity = f"{_stem(path)} {fingerprint(path)}"
    return ClipFeatures(load_clip(path, device), identity, ArrayCache(cache / "vectors"))
