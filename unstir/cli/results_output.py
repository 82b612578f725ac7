"""What was found among pictures: as a table, as JSON, and as a sheet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.progress import say

if TYPE_CHECKING:
    from unstir.data.entry import Entry
    from unstir.interop.image_index import ImageIndex

SIDE = 96  # px of a picture on a sheet

Hit = tuple["Entry", float]


def hits_of(gallery: "ImageIndex", rows: list[int], cosines: list[float]) -> list[Hit]:
    """The entries of these rows of a gallery, each with its cosine."""
    return [(gallery.entries[row], cosine) for row, cosine in zip(rows, cosines, strict=True)]


def plain(hits: list[Hit]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{"picture": e.key, "caption": e.caption, "cosine": round(cosine, 4)} for e, cosine in hits]


def short(values: list[float]) -> list[float]:
    """Rounded: more digits differ from machine to machine."""
    return [round(value, 4) for value in values]


def print_hits(hits: list[Hit]) -> None:
    """A table on standard output, best first."""
    columns = ["cosine", "picture", *(["caption"] if any(entry.caption for entry, _ in hits) else [])]
    print_table(columns, [[f"{cosine:.3f}", e.key, e.caption][: len(columns)] for e, cosine in hits])


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Cells are text and nothing else: what looks like markup, or would move the cursor, is shown and not done."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(escape(_visible(column)), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_visible(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # whoever reads it line by line wants no line broken
    console.print(table)


def print_json(value: dict[str, Any]) -> None:
    """On standard output, in ASCII: a file may have a name that is no text."""
    print(json.dumps(value, indent=1))


def write_sheet(path: Path, rows: list[tuple[str, list[Hit]]]) -> None:
    """A PNG of the pictures with their cosines, each row under its label, all in a block where there is none."""
    from unstir.image.png import save_png
    from unstir.image.sheet import sheet
    from unstir.interop.image_index import thumbnail

    hits = [hit for _, row in rows for hit in row]
    labels = [label for label, _ in rows if label]
    captions = [f"{cosine:.3f} {entry.caption or Path(entry.key).stem}" for entry, cosine in hits]
    pictures = [thumbnail(entry, SIDE) for entry, _ in hits]
    save_png(path, sheet(pictures, captions=captions, rows=labels or None, background="checker"))
    say(f"written: {path}")


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
