"""The section on prompt alignment: what a CLIP sees, and the comparison with the nearest-text baseline."""

import numpy as np

from unstir.evaluate.metrics.clip_errors import confusions
from unstir.evaluate.metrics.prompt_alignment import (
    BOTH,
    CAPTION,
    CAPTION_OF_ALL,
    CLIP_SCORE,
    PromptTargets,
    mean_with_interval,
)
from unstir.evaluate.report.baseline_comparison import (
    baseline_sentence,
    bias_sentence,
    confusion_sentence,
    correct_by_metadata,
    difference_rows,
    metadata_rows,
    metadata_sentence,
    paired_differences,
)
from unstir.evaluate.report.document import Figure, Row, Section, Table, row_of
from unstir.evaluate.report.figures import extremes_figure
from unstir.evaluate.run.inputs import Inputs, PictureEmbeddings, PromptSet
from unstir.evaluate.statistics.arrays import Embeddings, Indices

_RELIABLE = 0.3
"""Proportion of the real pictures' captions that a CLIP should find to be relied on."""


def alignment_section(inputs: Inputs) -> Section:
    """Prompt alignment of either prompt set, and the comparison with the baseline; empty without a CLIP."""
    section = Section()
    embeddings = inputs.embeddings
    if embeddings is None:
        return section
    for prompts in reversed(inputs.prompt_sets):  # held-out prompts matter most and come first
        if prompts.targets is None:
            continue
        generated, real = embeddings.generated[prompts.numbers], embeddings.real[prompts.rows]
        nearest = None if prompts.nearest is None else embeddings.real[prompts.nearest]
        rows = alignment_rows(prompts.targets, generated, real, nearest)
        note = _note(prompts, prompts.targets)
        section.tables.append(Table(title=f"Prompt alignment, {prompts.name} prompts", rows=rows, note=note))
        if prompts.nearest is not None:
            _add_baseline(section, inputs, embeddings, prompts, prompts.targets, prompts.nearest)
        section.sentences.append(_reliability(prompts, prompts.targets, real))
    section.figures.append(_extremes(inputs, embeddings))
    section.sentences = [one for one in section.sentences if one]
    return section


def alignment_rows(
    targets: PromptTargets, generated: Embeddings, real: Embeddings, nearest: Embeddings | None
) -> list[Row]:
    """The table's rows. generated, real, nearest: (N, D), pictures of the model, of the data, of the baseline."""
    chances, ceiling = targets.chances(generated), targets.scores(real)
    baseline = {} if nearest is None else targets.scores(nearest)
    return [
        row_of(
            name,
            mean_with_interval(name, scores, targets.groups),
            ceiling=float(ceiling[name].mean()),
            baseline=float(baseline[name].mean()) if baseline else None,
            chance=chances.get(name),
        )
        for name, scores in targets.scores(generated).items()
    ]


def _note(prompts: PromptSet, targets: PromptTargets) -> str:
    candidates = len(targets.captions.names)
    everything = (
        "" if targets.all_captions is None else f", and among all {len(targets.all_captions.names)} of the data"
    )
    note = (
        f"{len(prompts.rows)} pictures, as a CLIP sees them. Captions are searched among the {candidates} that were "
        f"prompts{everything}. The ceiling is what the real pictures of these captions reach"
    )
    if prompts.nearest is None:
        return f"{note}."
    return f"{note}; the baseline draws nothing and returns the training picture with the nearest caption."


def _add_baseline(
    section: Section,
    inputs: Inputs,
    embeddings: PictureEmbeddings,
    prompts: PromptSet,
    targets: PromptTargets,
    nearest: Indices,
) -> None:
    """The table of the comparison with the baseline, and its sentences."""
    real = embeddings.real[prompts.rows]
    of_model = targets.scores(embeddings.generated[prompts.numbers])
    of_baseline, of_real = targets.scores(embeddings.real[nearest]), targets.scores(real)
    names = [CAPTION_OF_ALL if CAPTION_OF_ALL in of_model else CAPTION, BOTH, CLIP_SCORE]
    differences = paired_differences(of_model, of_baseline, targets.groups, names)
    rows = difference_rows(differences)
    note = "Prompt by prompt, model less baseline: above zero the model is better."
    section.sentences += [
        baseline_sentence(differences),
        bias_sentence(paired_differences(of_baseline, of_real, targets.groups, names)),
    ]
    metas = inputs.real.pictures.meta
    correct = correct_by_metadata([metas[row] for row in prompts.rows], [metas[row] for row in nearest])
    if correct is not None:
        rows += metadata_rows(of_baseline, correct)
        note += " What the baseline's pictures really show is known from their metadata."
        section.sentences.append(metadata_sentence(of_baseline, correct))
    if targets.styles is not None:
        section.sentences.append(confusion_sentence(confusions(real, targets.styles), len(real)))
    section.tables.append(Table(title="Comparison with the nearest-text baseline", rows=rows, note=note))


def _reliability(prompts: PromptSet, targets: PromptTargets, real: Embeddings) -> str:
    """A warning where the CLIP does not recognise even the real pictures."""
    found = targets.scores(real).get(CAPTION)
    if found is None or found.mean() >= _RELIABLE:
        return ""
    return (
        f"This CLIP hardly knows such pictures: it finds the captions of {100 * found.mean():.0f} % of the real "
        f"{prompts.name} ones, so its metrics are not reliable here."
    )


def _extremes(inputs: Inputs, embeddings: PictureEmbeddings) -> Figure:
    scores = np.zeros(len(inputs.pixels))
    for prompts in inputs.prompt_sets:
        if prompts.targets is not None:
            scores[prompts.numbers] = prompts.targets.scores(embeddings.generated[prompts.numbers])[CLIP_SCORE]
    caption = "The best and the worst of all pictures by their CLIP score, which follows the prompt."
    return extremes_figure(inputs.pixels, inputs.captions, scores, caption)
