"""The two layouts of plain files: x.png beside x.txt, and an imagefolder with metadata.jsonl or metadata.csv."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from unstir.data.entry import (
    OTHER_PICTURES,
    PICTURES,
    SECOND_CHOICE,
    Collected,
    Entry,
    Samples,
    Source,
    add_sample,
    group_file,
    leaves_folder,
    split_caption,
)
from unstir.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv")


def files_in(root: Path, found: Collected | None = None) -> Iterator[str]:
    """Relative '/'-separated names of the files under `root`, in sorted order.

    Hidden names are passed over (.git, macOS "._x.png"). Links are followed to files inside `root` only; links that
    leave it, or lead nowhere, become problems in `found`.
    """
    inside = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        here = Path(folder).relative_to(root)
        for name in [*(n for n in folders if Path(folder, n).is_symlink()), *sorted(names)]:
            path = Path(folder, name)
            relative = (here / name).as_posix()
            if _hidden(name):
                continue
            if path.is_symlink() and not _stays(path, inside):
                if found is not None:
                    found.problem(_stem(relative), f"{relative} is a link that leaves the folder; it is not followed")
            elif path.is_file():
                yield relative


def read_folder(root: Path, names: list[str], found: Collected) -> Source:
    """x.png (or another of `PICTURES`) with its caption in x.txt, and other fields in x.json; at any depth."""
    samples: Samples = {}
    for name in sorted(names):
        extension = _extension(name)
        if extension in PICTURES or extension in OTHER_PICTURES or extension in ("txt", "json"):
            group_file(found, samples, _stem(name), extension, name, (root / name).read_bytes)
    for key, parts in samples.items():
        add_sample(found, key, parts)
    return found.source(str(root), "folder")


def read_imagefolder(root: Path, names: list[str], found: Collected) -> Source:
    """Pictures listed in metadata.jsonl or metadata.csv: `file_name` (relative to that file) and `text`.

    The rows are taken in the order of their file names, GIF, TIFF and AVIF last, so that all layouts keep the same
    of x.PNG and x.png.
    The other columns become meta. Raises UserError when the metadata cannot be read as text or has no `file_name`.
    """
    named: set[str] = set()
    seen: set[str] = set()
    present = set(names)
    for listing in sorted((n for n in names if n.rpartition("/")[2] in METADATA), key=_jsonl_first):
        folder = listing.rpartition("/")[0]
        if folder in seen:
            found.problem(listing, f"{listing} is left out, since there is a metadata.jsonl beside it")
            continue
        seen.add(folder)
        for where, row in sorted(_rows(root, listing, found), key=_plain_pictures_first):
            name = row.pop("file_name", None)
            if not isinstance(name, str) or not name:
                found.problem(where, "this row has no file_name")
                continue
            _add_row(root, folder, name, row, present, named, found)
    for name in names:
        if _extension(name) in PICTURES and name not in named:
            found.problem(_stem(name), f"{name} is not listed in the metadata, so it has no caption")
    return found.source(str(root), "imagefolder")


def _add_row(
    root: Path,
    folder: str,
    name: str,
    row: dict[str, object],
    present: set[str],
    named: set[str],
    found: Collected,
) -> None:
    """Check one metadata row against the files that are there, and add its entry."""
    parts = [part for part in f"{folder}/{name}".split("/") if part not in ("", ".")]
    relative = "/".join(parts)
    key = _stem(relative)
    if leaves_folder(name):
        found.problem(name, "the metadata names a path outside of the folder; it is not followed")
        return
    if _extension(relative) not in PICTURES:
        found.problem(key, f"{relative} is not a kind of picture that is read ({', '.join(sorted(PICTURES))})")
        return
    if relative not in present:  # names holds no link that leaves the folder, so neither can a row
        found.problem(key, f"the metadata lists {relative}, but there is no such file")
        return
    named.add(relative)
    caption, meta = split_caption(row)
    if not caption:
        found.problem(key, "its row in the metadata has no text")
        return
    found.add(Entry(key, caption, meta, (root / relative).read_bytes), relative)


def _rows(root: Path, listing: str, found: Collected) -> Iterator[tuple[str, dict[str, object]]]:
    """(its position, the row) for each row of a metadata file; broken rows become problems."""
    try:
        text = (root / listing).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{root / listing} cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    if listing.endswith(".jsonl"):
        for number, line in enumerate(text.split("\n"), 1):
            where = f"{listing} line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield where, row
            else:
                found.problem(where, "this line is not a JSON object")
        return
    table = csv.DictReader(io.StringIO(text, newline=""))
    if "file_name" not in (table.fieldnames or ()):
        raise UserError(f"{root / listing} has no column `file_name`; name the columns file_name and text")
    try:
        for cells in table:
            # A row longer than the header puts the rest under None; a shorter one gives None values.
            row = {name: cell for name, cell in cells.items() if isinstance(name, str) and cell is not None}
            yield f"{listing} line {table.line_num}", row
    except csv.Error as error:
        found.problem(f"{listing} line {table.line_num}", f"this row and those after it cannot be read ({error})")


def _jsonl_first(listing: str) -> tuple[str, bool]:
    return listing.rpartition("/")[0], listing.endswith(".csv")


def _plain_pictures_first(located: tuple[str, dict[str, object]]) -> tuple[bool, str]:
    name = str(located[1].get("file_name"))
    return _extension(name) in SECOND_CHOICE, name


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _stays(link: Path, inside: Path) -> bool:
    """Whether a link leads to something that exists inside of the folder."""
    try:
        return link.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # nothing there, or links in a circle
        return False


def _extension(name: str) -> str:
    base = name.rpartition("/")[2]
    return base.rpartition(".")[2].lower() if "." in base else ""


def _stem(name: str) -> str:
    """The name without its last extension."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)
