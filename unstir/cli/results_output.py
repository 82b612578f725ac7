"""Output of the pictures that a search found: a table, JSON, a contact sheet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.progress import say

if TYPE_CHECKING:
    from unstir.data.entry import Entry
    from unstir.interop.image_index import ImageIndex

THUMBNAIL_SIDE = 96  # px of a picture on a sheet

Hit = tuple["Entry", float]
"""A picture and its cosine similarity to the query."""


def hits_from(index: "ImageIndex", rows: list[int], cosines: list[float]) -> list[Hit]:
    """The pictures in these rows of an index, each with its cosine."""
    return [(index.entries[row], cosine) for row, cosine in zip(rows, cosines, strict=True)]


def hits_as_json(hits: list[Hit]) -> list[dict[str, Any]]:
    """One JSON object a hit."""
    return [{"picture": e.key, "caption": e.caption, "cosine": round(cosine, 4)} for e, cosine in hits]


def round_all(values: list[float]) -> list[float]:
    """Four digits: more of them differ from machine to machine."""
    return [round(value, 4) for value in values]


def print_hits(hits: list[Hit]) -> None:
    """Print a table, best first, with captions if there are any."""
    columns = ["cosine", "picture", *(["caption"] if any(entry.caption for entry, _ in hits) else [])]
    print_table(columns, [[f"{cosine:.3f}", e.key, e.caption][: len(columns)] for e, cosine in hits])


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table. Markup in cells is printed as it is, and control characters as "?"."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(escape(_printable(column)), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # programs that read the output need one line a row
    console.print(table)


def print_json(value: dict[str, Any]) -> None:
    """Print JSON in ASCII: names of files need not be valid UTF-8."""
    print(json.dumps(value, indent=1))


def write_sheet(path: Path, rows: list[tuple[str, list[Hit]]]) -> None:
    """Write pictures with their cosines to a PNG.

    rows: (label, hits), each drawn as one row; a single one without a label is drawn as a block.
    """
    from unstir.image.png import save_png
    from unstir.image.sheet import sheet
    from unstir.interop.image_index import thumbnail

    hits = [hit for _, row in rows for hit in row]
    labels = [label for label, _ in rows if label]
    captions = [f"{cosine:.3f} {entry.caption or Path(entry.key).stem}" for entry, cosine in hits]
    pictures = [thumbnail(entry, THUMBNAIL_SIDE) for entry, _ in hits]
    save_png(path, sheet(pictures, captions=captions, rows=labels or None, background="checker"))
    say(f"written: {path}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
