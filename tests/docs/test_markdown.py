"""Markdown wraps at 100 columns."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLUMNS = 100
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("unstir/weights/*.md")])

LINK = re.compile(r"!?\[[^\]]*\]\([^)]*\)")
FENCE = re.compile(r"\s*(```|~~~)")


def too_long(text: str) -> list[int]:
    """Numbers, from 1, of the lines that could be broken and were not: no tables, no code, no lone link or image."""
    found, in_code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code and len(line) > COLUMNS and not line.lstrip().startswith("|"):
            words = LINK.sub("link", re.sub(r"^\s*(?:[-*>]|\d+\.)?\s*", "", line)).split()
            if len(words) > 1:
                found.append(number)
    return found


def test_long_lines_are_found() -> None:
    prose, code = "word " * 21, "```sh\n" + "word " * 21 + "\n```"
    table, image = "| " + "word " * 21 + "|", "![" + "word " * 21 + "](docs/icons.png)"
    page = "\n".join([prose, code, table, image, "short", f"- {image}", f"{image} and more", "x" * 101, "x" * 100])
    assert too_long(page) == [1, 9]
    assert too_long("- " + "é " * 49) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_wrap_at_100_columns(page: Path) -> None:
    assert too_long(page.read_text(encoding="utf-8")) == []
