"""A report as lines of text, for a terminal."""

from collections.abc import Mapping, Sequence
from html import unescape

from unstir.evaluate.drawn import ANCHORS
from unstir.evaluate.numerals import decimals, rounded
from unstir.evaluate.report import Report, Row, Table

_GAP = "  "


def lines(report: Report) -> list[str]:
    """The title, every table in columns, and what the report says in words."""
    told = [report["title"]]
    for table in report["tables"]:
        told += ["", *_table(table)]
    if report.get("summary"):
        told += ["", *report["summary"].splitlines()]
    return told


def _table(table: Table) -> list[str]:
    anchors = [name for name in ANCHORS if any(row.get(name) is not None for row in table["rows"])]
    grid = [[table["title"], "value", "95 % interval", *anchors], *(_cells(row, anchors) for row in table["rows"])]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    return [_line(cells, widths) for cells in grid]


def _cells(row: Row, anchors: Sequence[str]) -> list[str]:
    bounds = row.get("interval")
    places = decimals(row["value"], bounds)
    span = " to ".join(_number(bound, places) for bound in bounds) if bounds else ""
    known: Mapping[str, object] = row
    held = [_number(value if isinstance(value, float) else None, places) for value in map(known.get, anchors)]
    return [row["name"], _number(row["value"], places), span, *held]


def _number(value: float | None, places: int | None) -> str:
    if value is None:
        return ""
    text = rounded(value, places)
    return unescape(text.replace("<sup>", "^").replace("</sup>", "").replace("\u2009", " "))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return _GAP.join([first, *rest]).rstrip()
