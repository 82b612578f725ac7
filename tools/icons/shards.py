"""Writes drawings as webdataset shards: one tar for each style, the same bytes for the same drawings."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.icons.drawings import IconDrawing
from tools.icons.pictures import RenderError, render_webp
from unstir.files import replacing


def sample_metadata(drawing: IconDrawing) -> dict[str, object]:
    """The JSON metadata of a drawing."""
    label, style = drawing.label, drawing.style
    return {
        "concept": drawing.concept,
        "name": label.name,
        "tags": list(label.tags),
        "group": label.group,
        "kind": style.kind,
        "style": style.id,
        "family": style.family,
        "phrase": style.phrase,
        "licence": style.licence,
        "source": style.source,
    }


def write_style(path: Path, drawings: Mapping[str, IconDrawing], size: int, problems: list[str]) -> int:
    """Write STYLE/KEY.webp, .txt and .json of all drawings, sorted by key, atomically. Returns how many.

    Drawings that cannot be rendered are left out and noted in `problems`.
    Raises RenderError, and writes no file, where none can be rendered.
    """
    written = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
        for key, drawing in sorted(drawings.items()):
            try:
                picture = render_webp(drawing, size)
            except RenderError as error:
                problems.append(f"{drawing.path}: {error}.")
                continue
            meta = json.dumps(sample_metadata(drawing), ensure_ascii=False)
            caption = f"{drawing.label.name}, {drawing.style.phrase}"
            parts = (("webp", picture), ("txt", caption.encode()), ("json", meta.encode()))
            _add(tar, f"{drawing.style.id}/{key}", parts)
            written += 1
        if not written:
            raise RenderError(f"no drawing of {path.stem} can be rendered")
    return written


def _add(tar: tarfile.TarFile, key: str, parts: Iterable[tuple[str, bytes]]) -> None:
    """Add the files of one key. By default a TarInfo has no owner and the date 1970: nothing of this machine."""
    for extension, content in parts:
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
