"""The results of an evaluation as two files: report.json for programs, report.html for people.

Both say the same numbers. The page rounds what it shows, and carries each number in full (`<data value="…">`, shown
when the pointer rests on it) exactly as the JSON has it. It is one file that loads nothing and runs nothing. Neither
file has a date in it: the same results give the same bytes.
"""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import NotRequired, Protocol, TypeAlias, TypedDict

import numpy as np
from PIL import Image

from unstir.evaluate.page import page
from unstir.files import write_atomic

JSON_FILE, HTML_FILE = "report.json", "report.html"

Curve: TypeAlias = tuple[str, Sequence[float], Sequence[float | None]]
"""A name, the xs in rising order and as many ys; None breaks the line."""


class Row(TypedDict):
    """One measure: its value, where it lies with 95 %, and what to hold it against."""

    name: str
    value: float | None
    interval: NotRequired[tuple[float, float] | None]
    floor: NotRequired[float | None]
    ceiling: NotRequired[float | None]
    baseline: NotRequired[float | None]
    chance: NotRequired[float | None]


class Table(TypedDict):
    """Measures that belong together, under a title, with a sentence on how to read them."""

    title: str
    rows: Sequence[Row]
    note: NotRequired[str]


class Report(TypedDict):
    """All of it.

    summary: a paragraph a line.  settings: what one must know to do it again.  figures: (caption, picture).
    """

    title: str
    summary: NotRequired[str]
    settings: Mapping[str, object]
    tables: Sequence[Table]
    curves: Sequence[Curve]
    figures: Sequence[tuple[str, Image.Image]]


class Measured(Protocol):
    """What has a value between two bounds: `Share`, `Interval`, `Jackknife`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def row_of(
    name: str,
    result: Measured,
    floor: float | None = None,
    ceiling: float | None = None,
    baseline: float | None = None,
    chance: float | None = None,
) -> Row:
    """A row of a table from a result that has an interval; a `Share` brings its own chance level."""
    known = getattr(result, "chance", None) if chance is None else chance
    return Row(
        name=name,
        value=result.value,
        interval=(result.low, result.high),
        floor=floor,
        ceiling=ceiling,
        baseline=baseline,
        chance=known,
    )


def write_report(folder: Path, report: Report) -> None:
    """Write report.json and report.html into `folder`, each atomically; what is there is replaced.

    Settings may hold anything JSON can say, dataclasses and numpy's numbers too. Of figures the JSON keeps size and
    SHA-256 of the PNG. Raises ValueError for NaN or infinity (None says that a number is missing) and for a curve
    with unequal lengths or falling xs, TypeError for what JSON has no word for; then nothing is written.
    """
    encoded = [(caption, picture.size, _png(picture)) for caption, picture in report["figures"]]
    said = _said(
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
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # The page is made from the JSON as it reads back, so that it cannot know other numbers.
    html = page(json.loads(text), [png for _, _, png in encoded])
    write_atomic(folder / JSON_FILE, text)
    write_atomic(folder / HTML_FILE, html)


def _curve(name: str, xs: Sequence[float], ys: Sequence[float | None]) -> dict[str, object]:
    if len(xs) != len(ys) or len(xs) == 0:
        raise ValueError(f"the curve '{name}' has {len(xs)} xs and {len(ys)} ys")
    if any(after < before for before, after in pairwise(xs)):
        raise ValueError(f"the xs of the curve '{name}' do not rise")
    return {"name": name, "xs": list(xs), "ys": list(ys)}


def _said(value: object, where: str = "the report") -> object:
    """The value in JSON's own types. `where` is for the message."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{where} is {value}; say None for a number that is not known")
            return float(value)
        case np.generic():
            return _said(value.item(), where)
        case np.ndarray():
            return _said(value.tolist(), where)
        case Mapping():
            return {str(name): _said(one, f"{where} › {name}") for name, one in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [_said(one, f"{where} › {number}") for number, one in enumerate(value)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _said(asdict(value), where)
    raise TypeError(f"{where} is of {type(value)}, which JSON has no word for")


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
