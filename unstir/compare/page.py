"""The results of a comparison as two files: compare.json for programs, compare.html for people."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from unstir.compare.data import ComparedData, Comparison
from unstir.compare.measures import REFERENCE
from unstir.compare.results import Results
from unstir.compare.tables import further_tables, quality_tables
from unstir.durations import duration
from unstir.evaluate.report.curves import curve_svg
from unstir.files import write_atomic
from unstir.image.sheet import sheet
from unstir.models.paradigms import paradigm

JSON_FILE, HTML_FILE = "compare.json", "compare.html"

COLUMNS = 8
"""Prompts of the sheet."""

Curve = tuple[str, Sequence[float], Sequence[float]]
"""A name, xs in rising order, and ys."""


def write_comparison(
    wanted: Comparison, data: ComparedData, evaluators: Sequence[str], results: Results
) -> dict[str, Any]:
    """Write compare.json and compare.html, each atomically. Returns what compare.json holds."""
    content: dict[str, Any] = {
        "title": f"Kinds of model on {Path(data.name).name}",
        "summary": [
            f"Each kind was trained for {duration(wanted.budget)}, all of its stages together, on the same "
            f"{len(data.pictures):,} pictures of {data.shape[1]} pixels."
        ],
        "facts": {
            "data": Path(data.name).name,
            "training of each": duration(wanted.budget),
            "seeds": str(wanted.seeds),
            "pictures drawn": f"{wanted.n:,}",
            "held-out pictures": f"{len(data.held_out):,}",
            "device": wanted.device,
        },
        "results": {"kinds": results.kinds, "anchors": results.anchors},
    }
    tables = [
        *quality_tables(results, evaluators, wanted.n, min(len(data.pictures), REFERENCE)),
        *further_tables(results, {kind: paradigm(kind).likelihood for kind in results.kinds}),
    ]
    figure = _png(prompt_sheet(results.captions, results.shown, data.shape[1]))
    note = (
        f"The same {min(COLUMNS, len(results.captions))} prompts and seeds for each kind, the first ones, not selected."
    )
    environment = Environment(
        loader=PackageLoader("unstir.evaluate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    curves = [
        {"name": name, "svg": curve_svg(xs, ys, number), "last": f"{ys[-1]:.3g}"}
        for number, (name, xs, ys) in enumerate(_curves(results.kinds))
    ]
    html = environment.get_template("compare.html.jinja").render(
        {**content, "tables": tables, "curves": curves, "figure": figure, "note": note}
    )
    write_atomic(wanted.folder / JSON_FILE, json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n")
    write_atomic(wanted.folder / HTML_FILE, html)
    return content


def _curves(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """Of the first seed of each kind: quality against time, and the loss."""
    found: list[Curve] = []
    for kind, runs in kinds.items():
        points = sorted(runs[0]["curve"], key=lambda point: float(point["seconds"]))
        if points:
            times, far = [p["seconds"] for p in points], [p["FD at infinity"] for p in points]
            found.append((f"{kind}: FD∞ over seconds a picture", times, far))
    for kind, runs in kinds.items():
        log = [point for point in runs[0]["training"]["curve"] if math.isfinite(point["loss"])]
        if log:
            found.append((f"{kind}: loss over pictures", [p["images"] for p in log], [p["loss"] for p in log]))
    return found


def prompt_sheet(captions: Sequence[str], rows: Sequence[tuple[str, NDArray[np.uint8]]], side: int) -> Image.Image:
    """The same prompts side by side: one row for each model, not selected.

    rows: the title of each row, and its pictures, of which the first COLUMNS are shown.
    """
    count = min(COLUMNS, len(captions))
    shown = [picture for _, pictures in rows for picture in pictures[:count]]
    texts = [caption if row == len(rows) - 1 else "" for row in range(len(rows)) for caption in captions[:count]]
    page = sheet(
        shown,
        columns=count,
        captions=texts,
        rows=[title for title, _ in rows],
        scale=max(1, 64 // side),
        background="checker",
    )
    return Image.fromarray(page)


def _png(picture: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return {"png": base64.b64encode(file.getvalue()).decode(), "width": picture.width, "height": picture.height}


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
