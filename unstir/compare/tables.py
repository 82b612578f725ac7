"""The tables of a comparison: models and anchors down, measures across."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unstir.compare.results import Results

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""The measures of every seed, by the name of the model or anchor."""


class Column(NamedTuple):
    """heading: of the column.  value: of one run, or None.  text: of a number."""

    heading: str
    value: Callable[[Mapping[str, Any]], Any]
    text: Callable[[float], str]


class ComparisonTable(NamedTuple):
    """title, note.  heads: headings.  rows: a name and a text for each column, with the number in full."""

    title: str
    note: str
    heads: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


def plain(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}".replace("-", "−").replace(",", "\u2009")


def percent(value: float) -> str:
    """As percent, one decimal."""
    return f"{100 * value:.1f} %"


def two_decimals(value: float) -> str:
    """Of what is between 0 and about 1."""
    return f"{value:.2f}"


def short(value: float) -> str:
    """With k, M or G for thousands, millions and thousands of millions."""
    for letter, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= unit:
            return f"{plain(value / unit)} {letter}"
    return plain(value)


def seconds(value: float) -> str:
    """Seconds, or milliseconds where they are few."""
    return f"{plain(value)} s" if value >= 0.1 else f"{plain(1000 * value)} ms"


def table_of(title: str, note: str, columns: Sequence[Column], runs: Runs) -> ComparisonTable:
    """A table; rows without any number are left out.

    A cell is the mean over seeds; of several seeds with their standard deviation.
    """
    rows = []
    for name, measured in runs.items():
        cells = [_cell([column.value(one) for one in measured], column.text) for column in columns]
        if any(text for text, _ in cells):
            rows.append((name, cells))
    return ComparisonTable(title, note, [column.heading for column in columns], rows)


def _cell(values: Sequence[Any], text: Callable[[float], str]) -> tuple[str, str]:
    if values and isinstance(values[0], str):
        return values[0], ""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "", ""
    mean = float(np.mean(known))
    spread = f" ± {text(float(np.std(known, ddof=1)))}" if len(known) > 1 else ""
    return text(mean) + spread, " ".join(repr(value) for value in known)


def quality_tables(results: Results, evaluators: Sequence[str], drawn: int, reference: int) -> list[ComparisonTable]:
    """One table for each evaluator.

    drawn: pictures of each model.  reference: training pictures that they are compared with.
    """
    pictured: Runs = {name: [one] for name, one in results.anchors.items() if "evaluators" in one}
    note = (
        f"{drawn:,} pictures of each model, compared with {reference:,} training pictures. Read: the fraction of "
        "pictures whose caption the evaluator finds the most fitting of all. FD∞: the Fréchet distance extrapolated to "
        "infinitely many pictures. Of FD and KID lower is better, of the others higher; recall and coverage depend on "
        "the number of pictures."
    )
    tables = []
    for evaluator in evaluators:

        def column(heading: str, key: str, text: Callable[[float], str], evaluator: str = evaluator) -> Column:
            return Column(heading, lambda one: one["evaluators"][evaluator].get(key), text)

        columns = [
            column("read", "read as asked", percent),
            column("FD∞", "FD at infinity", plain),
            column("FD", "FD", plain),
            column("KID", "KID", plain),
            column("precision", "precision", two_decimals),
            column("recall", "recall", two_decimals),
            column("density", "density", two_decimals),
            column("coverage", "coverage", two_decimals),
        ]
        tables.append(table_of(f"As a {evaluator} sees it", note, columns, {**pictured, **results.kinds}))
        note = "The same, in a space that was learned in another way."
    return tables


def further_tables(results: Results, likelihoods: Mapping[str, str]) -> list[ComparisonTable]:
    """Copies, likelihood and cost; tables without any number are left out.

    likelihoods: of each kind, "exact", "bound" or "none".
    """
    every: Runs = {**{name: [one] for name, one in results.anchors.items()}, **results.kinds}
    anchors = {"probabilistic PCA": "bound", "independent values": "exact"}
    bits: Runs = {
        name: [{**(one["likelihood"] or {}), "what": {**anchors, **likelihoods}.get(name, "")} for one in runs]
        for name, runs in every.items()
        if any(one.get("likelihood") for one in runs)
    }
    found = [
        table_of(
            "Copies, and pictures read back exactly",
            "Copies: pictures much nearer to one training picture than to any that shows something else. Of new "
            "pictures 1 % are nearer to the training set than 99 % of the held-out ones.",
            [
                Column("copies", lambda one: one.get("copies"), percent),
                Column("nearer than 99 % of real ones", lambda one: one.get("nearer than 99 % of real ones"), percent),
                Column("exactly as asked", lambda one: one.get("exactly as asked"), percent),
            ],
            every,
        ),
        table_of(
            "Likelihood of held-out pictures",
            "Bits for each stored value, given the caption; a bound is an upper one. GANs, latent and code models have "
            "none. It does not say how good pictures look.",
            [
                Column("bits a value", lambda one: one.get("bits"), plain),
                Column("standard error", lambda one: one.get("error"), plain),
                Column("", lambda one: one.get("what"), plain),
            ],
            bits,
        ),
        table_of(
            "Reconstruction",
            "Held-out pictures encoded and decoded: no picture drawn in the latents of an autoencoder can be better.",
            [
                Column("PSNR, dB", lambda one: one.get("PSNR"), plain),
                Column("structural similarity", lambda one: one.get("SSIM"), two_decimals),
            ],
            every,
        ),
        table_of(
            "Cost",
            "Seconds of training of each stage, of the first seed; memory is the largest that training took. Drawing "
            "with default settings, alone and in a batch of 64.",
            [
                Column("parameters", lambda one: one.get("parameters"), short),
                Column("bytes of the file", lambda one: one.get("bytes"), short),
                Column("training", _stage_seconds, seconds),
                Column("pictures seen", lambda one: (one.get("training") or {}).get("images_seen"), short),
                Column("memory", lambda one: (one.get("training") or {}).get("memory") or None, short),
                Column("a picture, alone", lambda one: (one.get("speed") or {}).get("alone"), seconds),
                Column("in a batch", lambda one: (one.get("speed") or {}).get("in a batch"), seconds),
            ],
            results.kinds,
        ),
    ]
    return [table for table in found if table.rows]


def _stage_seconds(one: Mapping[str, Any]) -> str | None:
    """Seconds of all stages, one after the other."""
    notes = one.get("training")
    if not notes:
        return None
    stages = [*(notes.get("stages") or {}).values(), notes]
    return " + ".join(f"{float(stage.get('seconds') or 0.0):.0f}" for stage in stages) + " s"
