"""Finds line icons and their names in clones of their repositories.

Brand logos and deprecated icons are left out.
"""

import json
import re
from pathlib import Path
from typing import Any

from tools.icons.drawings import DrawingSet, Label, normalised_tags
from unstir.errors import UserError

_PHOSPHOR_WEIGHTS = ("light", "bold", "fill", "duotone")

# A catalogue entry has a name and tags; the name inside an alias block is skipped.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PHOSPHOR_ENTRY = re.compile(
    rf"\balias:\s*\{{[^}}]*\}}|\bname:\s*(?P<name>{_QUOTED})|\btags:\s*\[(?P<tags>(?:\s*{_QUOTED}\s*,?)*)\s*\]"
)


def phosphor(clone: Path, found: DrawingSet) -> None:
    """assets/WEIGHT/NAME-WEIGHT.svg in four of the six weights; tags in src/icons.ts."""
    tags = _phosphor_tags(clone / "src" / "icons.ts")
    for weight in _PHOSPHOR_WEIGHTS:
        for file in sorted((clone / "assets" / weight).glob(f"*-{weight}.svg")):
            icon = file.stem.removesuffix(f"-{weight}")
            if "-logo" in icon:
                found.left_out["brand logos"] += 1
            else:
                name = _spaced(icon)
                found.add(icon, f"phosphor-{weight}", Label(name, normalised_tags(name, tags.get(icon, ()))), file)


def lucide(clone: Path, found: DrawingSet) -> None:
    """icons/NAME.svg, with tags and categories in icons/NAME.json."""
    for file in sorted((clone / "icons").glob("*.svg")):
        beside = file.with_suffix(".json")
        meta: Any = {}
        if beside.is_file():
            try:
                meta = json.loads(beside.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError) as error:
                found.problems.append(f"{beside}: cannot read its tags ({error}).")
        if not isinstance(meta, dict):
            meta = {}
        if meta.get("deprecated"):
            found.left_out["deprecated icons"] += 1
            continue
        name = _spaced(file.stem)
        categories = _strings(meta.get("categories"))
        found.add(
            file.stem,
            "lucide",
            Label(name, normalised_tags(name, _strings(meta.get("tags"))), categories[0] if categories else None),
            file,
        )


def material(clone: Path, found: DrawingSet) -> None:
    """svg/NAME.svg; aliases, tags and deprecation in meta.json."""
    path = clone / "meta.json"
    rows = _json(path, "a clone of MaterialDesign-SVG has it beside its svg folder")
    for row in rows if isinstance(rows, list) else []:
        icon = row.get("name") if isinstance(row, dict) else None
        if not isinstance(icon, str):
            found.problems.append(f"{path}: an entry without a name is left out.")
            continue
        tags, file = _strings(row.get("tags")), clone / "svg" / f"{icon}.svg"
        if row.get("deprecated"):
            found.left_out["deprecated icons"] += 1
        elif "Brand / Logo" in tags:
            found.left_out["brand logos"] += 1
        elif not file.is_file():
            found.problems.append(f"{file}: listed in meta.json, but missing.")
        else:
            name = _spaced(icon)
            synonyms = [_spaced(alias) for alias in _strings(row.get("aliases"))]
            label = Label(name, normalised_tags(name, [*synonyms, *tags]), tags[0] if tags else None)
            found.add(icon, "material", label, file)


def _phosphor_tags(path: Path) -> dict[str, list[str]]:
    """Icon -> tags, from Phosphor's catalogue. Marks such as "*new*" are skipped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: a clone of Phosphor's core has it. ({error})") from error
    tags: dict[str, list[str]] = {}
    name = ""
    for match in _PHOSPHOR_ENTRY.finditer(text):
        if match["name"] is not None:
            name = json.loads(match["name"])
        elif match["tags"] is not None:
            texts = [json.loads(quoted) for quoted in re.findall(_QUOTED, match["tags"])]
            tags[name] = [text for text in texts if not text.startswith("*")]
    return tags


def _json(path: Path, hint: str) -> Any:
    """The content of a JSON file; UserError with the hint where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {hint}. ({error})") from error


def _strings(value: object) -> list[str]:
    """The strings in a list from a JSON file; none if it is not a list."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _spaced(icon: str) -> str:
    """ "arrow-down-left" -> "arrow down left"."""
    return " ".join(icon.lower().replace("-", " ").split())
