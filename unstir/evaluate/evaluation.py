"""All of an evaluation, from a model and pictures to a report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from unstir.evaluate import sections
from unstir.evaluate.material import Material, Subject, gather
from unstir.evaluate.real import Real
from unstir.evaluate.report import Report
from unstir.evaluate.sections import Section
from unstir.evaluate.stages import Stages, silent
from unstir.evaluate.vectors import ClipVectors

Features = Literal["clip", "raw"]


def evaluate(
    subject: Subject,
    real: Real,
    count: int = 1000,
    seed: int = 0,
    clip: ClipVectors | None = None,
    features: Features = "clip",
    folder: Path | None = None,
    settings: Mapping[str, object] | None = None,
    stages: Stages = silent,
) -> Report:
    """Draw, look, compare. The same arguments give the same report; what was kept in `folder` only saves time.

    count: of prompts.  clip: judges words, and likeness too if `features` is "clip"; None leaves words out.
    settings: what the report is to say of how it was made, beside what is known here.
    Raises UserError as `gather` does, ValueError for features of a CLIP that is not there.
    """
    if features == "clip" and clip is None:
        raise ValueError("to measure by a CLIP's vectors, give a CLIP")
    material = gather(subject, real, count, seed, clip, folder, stages)
    parts: list[Callable[[], Section]] = [
        lambda: sections.drawn(material),
        lambda: sections.shapes(material),
        lambda: sections.words(material),
        lambda: sections.distances(material, features),
        lambda: sections.memory(material),
    ]
    if subject.bits is not None:
        measure = subject.bits
        parts.append(lambda: sections.bits(material, measure))
    found = []
    with stages("comparing", len(parts)) as told:
        for done, part in enumerate(parts, 1):
            found.append(part())
            told(done)
    return Report(
        title=f"{subject.name} on {Path(real.name).name}",
        summary="\n".join([*_held_out(material), *(sentence for one in found for sentence in one.sentences)]),
        settings={**_counts(material), **(settings or {}), "seed": seed},
        tables=[table for one in found for table in one.tables],
        curves=[],
        figures=[figure for one in found for figure in one.figures],
    )


def _held_out(material: Material) -> list[str]:
    """A word where the main question cannot be answered."""
    if material.sides[-1].held_out:
        return []
    return ["Nothing is known to be held out, so these figures cannot tell learning from learning by heart."]


def _counts(material: Material) -> dict[str, object]:
    """How many pictures and prompts there are of either side."""
    split = material.real.split
    return {
        "pictures": {"seen": len(split.seen), "held out": len(split.held_out), "not usable": material.real.left_out},
        "prompts": {side.name: len(side.places) for side in material.sides},
    }
