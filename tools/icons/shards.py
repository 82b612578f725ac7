"""Drawings as webdataset shards: one tar for each style, the same bytes for the same drawings."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.icons.drawings import IconFile
from tools.icons.pictures import NotDrawn, encoded
from unstir.files import replacing


def sample(drawing: IconFile) -> dict[str, object]:
    """The JSON of a sample."""
    words, style = drawing.words, drawing.style
    return {
        "concept": drawing.concept,
        "name": words.name,
        "tags": list(words.tags),
        "group": words.group,
        "kind": style.kind,
        "style": style.id,
        "family": style.family,
        "phrase": style.phrase,
        "licence": style.licence,
        "source": style.source,
    }


def write_style(path: Path, drawings: Mapping[str, IconFile], size: int, problems: list[str]) -> int:
    """Write STYLE/KEY.webp, .txt and .json of all drawings to a tar, atomically.

    drawings: by key.
    size: side of the pictures in pixels.
    problems: sentences on drawings that cannot be drawn are added to it.
    Returns the number of drawings written. Raises NotDrawn, and writes nothing, if none can be drawn.
    """
    written = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
        for key, drawing in sorted(drawings.items()):
            try:
                picture = encoded(drawing, size)
            except NotDrawn as error:
                problems.append(f"{drawing.path}: {error}.")
                continue
            meta = json.dumps(sample(drawing), ensure_ascii=False)
            caption = f"{drawing.words.name}, {drawing.style.phrase}"
            parts = (("webp", picture), ("txt", caption.encode()), ("json", meta.encode()))
            _add(tar, f"{drawing.style.id}/{key}", parts)
            written += 1
        if not written:
            raise NotDrawn(f"not one drawing of {path.stem} can be drawn")
    return written


def _add(tar: tarfile.TarFile, key: str, parts: Iterable[tuple[str, bytes]]) -> None:
    """Add the files of one key. The defaults of TarInfo are no owner and the year 1970: nothing of this machine."""
    for extension, content in parts:
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
