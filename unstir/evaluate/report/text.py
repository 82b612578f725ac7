"""A report as lines of text, for a terminal."""

from collections.abc import Mapping, Sequence

from unstir.evaluate.report.document import EvaluationReport, Row, Table
from unstir.evaluate.report.html import used_references
from unstir.evaluate.report.number_format import decimals_for, rounded

_GAP = "  "


def report_lines(report: EvaluationReport) -> list[str]:
    """The title, every table in columns, and the summary."""
    text = [report["title"]]
    for table in report["tables"]:
        text += ["", *_table(table)]
    if report.get("summary"):
        text += ["", *report["summary"].splitlines()]
    return text


def _table(table: Table) -> list[str]:
    references = used_references(table["rows"])
    grid = [
        [table["title"], "value", "95 % interval", *references],
        *(_cells(row, references) for row in table["rows"]),
    ]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    return [_line(cells, widths) for cells in grid]


def _cells(row: Row, references: Sequence[str]) -> list[str]:
    interval = row.get("interval")
    decimals = decimals_for(row["value"], interval)
    bounds = " to ".join(_number(bound, decimals) for bound in interval) if interval else ""
    known: Mapping[str, object] = row
    others = [_number(value if isinstance(value, float) else None, decimals) for value in map(known.get, references)]
    return [row["name"], _number(row["value"], decimals), bounds, *others]


def _number(value: float | None, decimals: int | None) -> str:
    return "" if value is None else rounded(value, decimals).replace("\u2009", " ")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return _GAP.join([first, *rest]).rstrip()
