"""docs/design.md names what is there, and leaves out no room."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
OUTLINE = re.search(r"(?ms)^```\n(unstir/\n.*?)^```", PAGE).group(1)


def named():
    """Every path that the outline names, files with .py. A line: names, two spaces or more, a remark."""
    room = Path()
    for line in OUTLINE.splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.split(r" {2,}", line.strip())[0].split()
        for name in names:
            at = [Path(), Path("unstir"), room][indent // 2] / name
            yield at if name.endswith("/") else at.with_suffix(".py")
        if indent == 2 and names[0].endswith("/"):
            room = Path("unstir") / names[0]


def test_everything_in_the_outline_is_there():
    paths = list(named())
    assert len(paths) > 120
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(set(paths)) == len(paths)


def test_no_room_is_missing():
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "unstir").rglob("__init__.py")}
    assert packages - set(named()) == {Path("unstir")} - set(named())


def test_the_outline_fits_one_screen():
    assert len(OUTLINE.splitlines()) <= 70
    assert max(map(len, PAGE.splitlines())) <= 100


def test_files_named_in_the_text_are_there():
    text = PAGE.replace(OUTLINE, "")
    files = re.findall(r"`([a-z_/]+(?:\.py|/))`", text)
    assert len(files) > 10
    assert [file for file in files if not any((ROOT / room / file).exists() for room in ("unstir", "tests"))] == []
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
