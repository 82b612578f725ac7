"""What a report consists of; and its sections of figures, distribution metrics, composition and likelihood."""

from collections.abc import Callable

import numpy as np

from unstir.data.shapes_scene import parse
from unstir.evaluate.metrics import likelihood
from unstir.evaluate.metrics.composition import composition
from unstir.evaluate.metrics.distribution import LOWER_IS_BETTER, DistributionMetric, distribution_metrics
from unstir.evaluate.metrics.likelihood import BitsPerDim, compare_likelihood, style_matched_pairs
from unstir.evaluate.report.alignment_section import alignment_section
from unstir.evaluate.report.document import Row, Section, Table, row_of
from unstir.evaluate.report.figures import comparison_figure, generated_figure
from unstir.evaluate.report.memorisation_section import memorisation_section
from unstir.evaluate.run.features import pixel_features, scaled_features
from unstir.evaluate.run.inputs import Inputs, PromptSet
from unstir.evaluate.run.progress import StartStage
from unstir.evaluate.statistics.arrays import Indices
from unstir.evaluate.statistics.resampling import permutation


def sections(inputs: Inputs, features: str) -> list[Callable[[], Section]]:
    """Every section but that of likelihood, in the order of the report. Each computes its metrics when it is called.

    features: of the distribution metrics, "clip" or "raw".
    """
    return [
        lambda: figures_section(inputs),
        lambda: composition_section(inputs),
        lambda: alignment_section(inputs),
        lambda: distribution_section(inputs, features),
        lambda: memorisation_section(inputs),
    ]


def figures_section(inputs: Inputs) -> Section:
    """The first pictures of each prompt set, not selected."""
    section = Section()
    for prompts in reversed(inputs.prompt_sets):
        pixels, captions = inputs.pixels[prompts.numbers], inputs.captions_of(prompts)
        if not prompts.held_out:
            caption = "Generated for captions seen in training; the first ones, not selected."
            section.figures.append(generated_figure(pixels, captions, caption))
            continue
        kinds = [("generated", pixels), ("real", inputs.real.pictures.pixels[prompts.rows])]
        caption = "Held-out prompts, not selected: the generated picture, the real one that training never showed"
        if prompts.nearest is not None:
            kinds.append(("nearest text", inputs.real.pictures.pixels[prompts.nearest]))
            caption += ", and the nearest-text baseline, which is the training picture with the nearest caption"
        section.figures.append(comparison_figure(kinds, captions, f"{caption}."))
    return section


def distribution_section(inputs: Inputs, features: str) -> Section:
    """Distribution metrics of each prompt set. features: "clip" or "raw"."""
    section = Section()
    for prompts in reversed(inputs.prompt_sets):
        if not len(prompts.others):
            continue
        if features == "clip" and inputs.embeddings is not None:
            generated = scaled_features(inputs.embeddings.generated[prompts.numbers])
            prompted, others = (
                scaled_features(inputs.embeddings.real[rows]) for rows in (prompts.rows, prompts.others)
            )
            kind = "CLIP features"
        else:
            real = inputs.real.pictures.pixels
            generated = pixel_features(inputs.pixels[prompts.numbers])
            prompted, others = pixel_features(real[prompts.rows]), pixel_features(real[prompts.others])
            kind = "reduced pixels"
        groups = inputs.groups_of(prompts.others), inputs.groups_of(prompts.rows)
        metrics, count = distribution_metrics(others, generated, prompted, *groups, seed=inputs.seed)
        if not metrics:
            continue
        note = (
            f"On {kind}, {count} pictures in every set, all measured against the same real pictures. The ceiling is "
            "what the real pictures of the same prompts reach, and a perfect model; the floor is what other real "
            f"pictures reach. Of {' and '.join(LOWER_IS_BETTER)} lower is better, of the others higher."
        )
        rows = [_distribution_row(one) for one in metrics]
        section.tables.append(Table(title=f"Distribution metrics, {prompts.name} prompts", rows=rows, note=note))
        section.sentences.append(_distribution_sentence(prompts, metrics[0], count))
    section.sentences = [one for one in section.sentences[:1] if one]  # of the held-out prompts, where there are any
    return section


def _distribution_row(one: DistributionMetric) -> Row:
    return Row(name=one.name, value=one.value, interval=one.interval, floor=one.floor, ceiling=one.ceiling)


def _distribution_sentence(prompts: PromptSet, metric: DistributionMetric, count: int) -> str:
    """Whether generated pictures are farther from real ones than the real ones of the same prompts are."""
    if metric.excess_interval is None:
        return ""
    low, high = metric.excess_interval
    verdict = "no difference is shown"
    if low > 0 or high < 0:
        verdict = f"the generated pictures are {'farther' if low > 0 else 'nearer'}"
    difference = f"difference {metric.excess:.2g}, 95 % interval {low:.2g} to {high:.2g}".replace("-", "−")
    return (
        f"{metric.name} to other real pictures, {prompts.name} prompts, {count} pictures in every set: "
        f"{metric.value:.3g} for the generated pictures, {metric.ceiling:.3g} for the real ones of the same prompts; "
        f"{verdict} ({difference})."
    )


def composition_section(inputs: Inputs) -> Section:
    """What can be read back exactly from pictures of the built-in shapes; empty for other data."""
    if inputs.real.built_in != "shapes":
        return Section()
    found = composition(list(inputs.pixels), [parse(caption) for caption in inputs.captions])
    section = Section()
    for name, metrics in (("held-out", found.held_out), ("seen", found.as_trained)):
        if metrics:
            rows = [row_of(metric, one) for metric, one in metrics.items()]
            note = "Proportion of pictures that are right, read back exactly; binding: each colour is on its own form."
            section.tables.append(Table(title=f"Composition, {name} combinations", rows=rows, note=note))
    if "right" in found.held_out:
        right = {"held-out": found.held_out["right"], "seen": found.as_trained["right"]}
        parts = " and ".join(f"{100 * one.value:.0f} % of {one.total} {name}" for name, one in right.items())
        section.sentences.append(f"Read back exactly, {parts} scenes show all of the caption.")
    return section


def likelihood_section(
    inputs: Inputs,
    bits_per_dim: BitsPerDim,
    stage: StartStage,
    ode_bits: BitsPerDim | None = None,
    ode_count: int = 0,
) -> Section:
    """Bits per dimension of real pictures, seen and held out, in pairs of one style.

    ode_bits, ode_count: as of `EvaluatedModel`.
    """
    pictures, split = inputs.real.pictures, inputs.real.split
    styles = [meta.get("phrase", meta.get("style")) for meta in pictures.meta]
    sides = [_shuffled(rows, inputs.seed) for rows in (split.held_out, split.seen)]
    known: list[list[str | None]] = [
        [style if isinstance(style, str) else None for style in (styles[row] for row in rows)] for rows in sides
    ]
    if len(split.held_out):
        first, second = style_matched_pairs(known[0], known[1], likelihood.COUNT)
        chosen = {"held-out": sides[0][first], "seen": sides[1][second]}
    else:
        chosen = {"seen": sides[1][: likelihood.COUNT]}
    count = len(chosen["seen"])
    if not count:
        return Section()
    bits = {}
    for name, chosen_rows in chosen.items():
        with stage(f"measuring the likelihood of {name} pictures", count) as advance:
            bits[name] = bits_per_dim(pictures.take(chosen_rows), [inputs.seed + i for i in range(count)], advance)
    groups = inputs.groups_of(next(iter(chosen.values())))
    found = compare_likelihood(bits["seen"], bits.get("held-out"), groups)
    rows = [row_of("seen pictures", found.seen, chance=likelihood.UNIFORM_NOISE)]
    note = f"An upper bound for {count} real pictures given their captions; a model that knows nothing needs 8 bits."
    if found.held_out is not None and found.difference is not None:
        rows.insert(0, row_of("held-out pictures", found.held_out, chance=likelihood.UNIFORM_NOISE))
        rows.append(row_of("held-out less seen", found.difference))
        matched = any(style is not None for style in known[0])
        note = f"{note} {_MATCHED if matched else _NOT_MATCHED}"
    if ode_bits is not None:
        some = min(ode_count, count)
        for name, chosen_rows in chosen.items():
            with stage(f"measuring the likelihood of {name} pictures by the ODE", some) as advance:
                flow = ode_bits(pictures.take(chosen_rows[:some]), [inputs.seed + i for i in range(some)], advance)
            for what, values in ((_BY_THE_ODE, flow), (_BY_THE_BOUND, bits[name][:some])):
                rows.append(row_of(f"{name}, {what}", compare_likelihood(values, None, groups[:some]).seen))
        note = f"{note} By the ODE: {some} pictures of either side, each value spread evenly over its bin."
    return Section([Table(title="Likelihood, bits per dimension", rows=rows, note=note)])


_BY_THE_ODE, _BY_THE_BOUND = "by the ODE", "the same by the bound"

_MATCHED = (
    "Each held-out picture is paired with a seen one of the same style. A difference whose interval includes 0 shows "
    "nothing."
)
_NOT_MATCHED = (
    "Nothing is known of the pictures' styles, so the two sides may differ in more than in what training showed."
)


def _shuffled(rows: Indices, seed: int) -> Indices:
    return rows[permutation(len(rows), seed)] if len(rows) else np.arange(0)
