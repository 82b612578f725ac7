"""The report as one HTML page from a jinja2 template: no script, nothing loaded, light or dark as the system is."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from unstir.evaluate.report.curves import curve_svg
from unstir.evaluate.report.number_format import decimals_for, exact, rounded

if TYPE_CHECKING:
    from jinja2 import Template

REFERENCES = ("floor", "chance", "baseline", "ceiling")
"""What a value is compared with, in the order of the columns."""

_ROW = dict.fromkeys(("interval", *REFERENCES))
"""What a row may leave out."""

_ENLARGED = 384
"""px that a small picture is enlarged to at most, pixel by pixel."""


def page(content: Mapping[str, Any], pngs: Sequence[bytes]) -> str:
    """The page.

    content: what report.json holds, as `document.write_report` writes it.
    pngs: its figures, encoded, in the same order.
    Raises UserError where there are curves and matplotlib is not installed.
    """
    curves = [
        {"name": curve["name"], "last": _last(curve["ys"]), "svg": curve_svg(curve["xs"], curve["ys"], number)}
        for number, curve in enumerate(content["curves"])
    ]
    tables = [{**table, "rows": [_ROW | row for row in table["rows"]]} for table in content["tables"]]
    figures = [_figure(figure, png) for figure, png in zip(content["figures"], pngs, strict=True)]
    return _template().render({**content, "tables": tables, "curves": curves, "figures": figures})


@cache
def _template() -> "Template":
    """The template, which escapes whatever it is given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("unstir.evaluate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(rounded=rounded, exact=exact, px="{:.1f}".format, used_references=used_references)
    environment.globals.update(references=REFERENCES, decimals_for=decimals_for)
    return environment.get_template("report.html.jinja")


def used_references(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The references that any of the rows has, in the order of the columns."""
    return [name for name in REFERENCES if any(row.get(name) is not None for row in rows)]


def _last(ys: Sequence[float | None]) -> float | None:
    return next((y for y in reversed(ys) if y is not None), None)


def _figure(figure: Mapping[str, Any], png: bytes) -> dict[str, object]:
    width, height = figure["size"]
    times = max(1, _ENLARGED // max(width, height))
    return {
        "caption": figure["caption"],
        "width": width * times,
        "height": height * times,
        "enlarged": times > 1,
        "png": base64.b64encode(png).decode(),
    }
