"""The results of an evaluation as two files: report.json for programs, report.html for people.

Both have the same numbers. The page rounds what it shows, and has each number in full (`<data value="…">`, shown under
the pointer) exactly as the JSON does. It is one file that loads nothing and runs nothing. Neither file has a date in
it: the same results give the same bytes.
"""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import NotRequired, Protocol, TypeAlias, TypedDict

import numpy as np
from PIL import Image

from unstir.evaluate.report.html import page
from unstir.files import write_atomic

JSON_FILE, HTML_FILE = "report.json", "report.html"

Curve: TypeAlias = tuple[str, Sequence[float], Sequence[float | None]]
"""A name, the xs in rising order and as many ys; None breaks the line."""

Figure: TypeAlias = tuple[str, Image.Image]
"""A caption and a picture."""


class Row(TypedDict):
    """One metric: its value, its 95 % interval, and what to compare it with."""

    name: str
    value: float | None
    interval: NotRequired[tuple[float, float] | None]
    floor: NotRequired[float | None]
    ceiling: NotRequired[float | None]
    baseline: NotRequired[float | None]
    chance: NotRequired[float | None]


class Table(TypedDict):
    """Metrics that belong together, under a title, with a note on how to read them."""

    title: str
    rows: Sequence[Row]
    note: NotRequired[str]


@dataclass
class Section:
    """A part of a report: tables, figures, and sentences for the summary."""

    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


class EvaluationReport(TypedDict):
    """A whole report. summary: a paragraph a line.  settings: what one must know to repeat the evaluation."""

    title: str
    summary: NotRequired[str]
    settings: Mapping[str, object]
    tables: Sequence[Table]
    curves: Sequence[Curve]
    figures: Sequence[Figure]


class Estimate(Protocol):
    """A value between two bounds: `Proportion`, `BootstrapInterval`, `JackknifeInterval`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def row_of(
    name: str,
    estimate: Estimate,
    floor: float | None = None,
    ceiling: float | None = None,
    baseline: float | None = None,
    chance: float | None = None,
) -> Row:
    """A row from an estimate with its interval; a `Proportion` has its own chance level."""
    known = getattr(estimate, "chance", None) if chance is None else chance
    return Row(
        name=name,
        value=estimate.value,
        interval=(estimate.low, estimate.high),
        floor=floor,
        ceiling=ceiling,
        baseline=baseline,
        chance=known,
    )


def write_report(folder: Path, report: EvaluationReport) -> None:
    """Write report.json and report.html into `folder`, each atomically; older ones are replaced.

    Settings may hold anything that JSON can express, dataclasses and numpy's numbers too. Of figures the JSON has size
    and SHA-256 of the PNG.
    Raises ValueError for NaN or infinity (None stands for a missing number) and for a curve with unequal lengths or
    falling xs, TypeError for what JSON cannot express, UserError where curves are to be drawn without matplotlib; then
    nothing is written.
    """
    encoded = [(caption, picture.size, _png(picture)) for caption, picture in report["figures"]]
    content = _as_json(
        {
            "title": report["title"],
            "summary": report.get("summary", ""),
            "settings": report["settings"],
            "tables": [{**table, "note": table.get("note", "")} for table in report["tables"]],
            "curves": [_curve(*curve) for curve in report["curves"]],
            "figures": [
                {"caption": caption, "size": size, "sha256": hashlib.sha256(png).hexdigest()}
                for caption, size, png in encoded
            ],
        }
    )
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # The page is made from the JSON as it reads back, so that it cannot have other numbers.
    html = page(json.loads(text), [png for _, _, png in encoded])
    write_atomic(folder / JSON_FILE, text)
    write_atomic(folder / HTML_FILE, html)


def _curve(name: str, xs: Sequence[float], ys: Sequence[float | None]) -> dict[str, object]:
    if len(xs) != len(ys) or len(xs) == 0:
        raise ValueError(f"the curve '{name}' has {len(xs)} xs and {len(ys)} ys")
    if any(after < before for before, after in pairwise(xs)):
        raise ValueError(f"the xs of the curve '{name}' do not rise")
    return {"name": name, "xs": list(xs), "ys": list(ys)}


def _as_json(value: object, where: str = "the report") -> object:
    """The value in JSON's own types. where: for the error message."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{where} is {value}; use None for a number that is not known")
            return float(value)
        case np.generic():
            return _as_json(value.item(), where)
        case np.ndarray():
            return _as_json(value.tolist(), where)
        case Mapping():
            return {str(name): _as_json(one, f"{where} › {name}") for name, one in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [_as_json(one, f"{where} › {number}") for number, one in enumerate(value)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _as_json(asdict(value), where)
    raise TypeError(f"{where} is of {type(value)}, which JSON cannot express")


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
