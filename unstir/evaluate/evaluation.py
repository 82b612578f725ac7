"""A whole evaluation, from a model and real pictures to a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from unstir.evaluate.report.document import EvaluationReport
from unstir.evaluate.report.reconstruction_section import Reconstruct, reconstruction_section
from unstir.evaluate.report.sections import likelihood_section, sections
from unstir.evaluate.run.features import ClipFeatures
from unstir.evaluate.run.inputs import EvaluatedModel, Inputs, gather_inputs
from unstir.evaluate.run.progress import StartStage, no_progress
from unstir.evaluate.run.real_pictures import RealPictures

Features = Literal["clip", "raw"]


def evaluate_model(
    model: EvaluatedModel,
    real: RealPictures,
    count: int = 1000,
    seed: int = 0,
    clip: ClipFeatures | None = None,
    features: Features = "clip",
    folder: Path | None = None,
    settings: Mapping[str, object] | None = None,
    stage: StartStage = no_progress,
) -> EvaluationReport:
    """Draw pictures, compute all metrics and make a report of them.

    count: of prompts.  seed: of their choice; picture i is drawn with seed + i.
    clip: for prompt alignment, and for the distribution metrics if `features` is "clip"; None leaves alignment out.
    folder: caches the generated pictures.  settings: what the report says of how it was made, besides what is known
        here.  stage: reports progress.
    The same arguments give the same report; the cache only saves time.
    Raises UserError as `gather_inputs` does, ValueError for features of a CLIP that is not given.
    """
    if features == "clip" and clip is None:
        raise ValueError("to measure on a CLIP's features, give a CLIP")
    inputs = gather_inputs(model, real, count, seed, clip, folder, stage)
    parts, found = sections(inputs, features), []
    with stage("computing metrics", len(parts)) as advance:
        for done, part in enumerate(parts, 1):
            found.append(part())
            advance(done)
    if model.bits_per_dim is not None:
        found.append(likelihood_section(inputs, model.bits_per_dim, stage, model.ode_bits, model.ode_count))
    if model.reconstruct is not None:
        on = clip if features == "clip" else None
        found.append(reconstruction_section(real, seed, model.reconstruct, on, stage))
    return EvaluationReport(
        title=f"{model.name} on {Path(real.name).name}",
        summary="\n".join([*_nothing_held_out(inputs), *(line for section in found for line in section.sentences)]),
        settings={**_counts(real), **_prompt_counts(inputs), **(settings or {}), "seed": seed},
        tables=[table for section in found for table in section.tables],
        curves=[],
        figures=[figure for section in found for figure in section.figures],
    )


def _nothing_held_out(inputs: Inputs) -> list[str]:
    """A sentence where the main question cannot be answered."""
    if inputs.prompt_sets[-1].held_out:
        return []
    return ["Nothing is known to be held out, so these metrics cannot tell generalisation from memorisation."]


def evaluate_autoencoder(
    name: str,
    reconstruct: Reconstruct,
    real: RealPictures,
    seed: int = 0,
    clip: ClipFeatures | None = None,
    settings: Mapping[str, object] | None = None,
    stage: StartStage = no_progress,
) -> EvaluationReport:
    """A report of how close reconstructions are to their pictures. Arguments as of `evaluate_model`."""
    section = reconstruction_section(real, seed, reconstruct, clip, stage)
    return EvaluationReport(
        title=f"{name} on {Path(real.name).name}",
        summary="\n".join(section.sentences),
        settings={**_counts(real), **(settings or {}), "seed": seed},
        tables=section.tables,
        curves=[],
        figures=section.figures,
    )


def _counts(real: RealPictures) -> dict[str, object]:
    """How many real pictures there are."""
    split = real.split
    return {"pictures": {"seen": len(split.seen), "held out": len(split.held_out), "not usable": real.left_out}}


def _prompt_counts(inputs: Inputs) -> dict[str, object]:
    return {"prompts": {prompts.name: len(prompts.rows) for prompts in inputs.prompt_sets}}
