"""Drawings found in the icon repositories, with their labels, and what was left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools.icons.styles import STYLES_BY_ID, Style


@dataclass(frozen=True)
class Label:
    """What a drawing is called, in lower case.

    tags: synonyms and keywords, without the name.
    group: a category, or None.
    """

    name: str
    tags: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class IconDrawing:
    """One drawing in one style.

    key: code points ("1f34e") or the name of the icon ("acorn").
    path: an SVG or PNG file.
    """

    key: str
    style: Style
    label: Label
    path: Path

    @property
    def concept(self) -> str:
        """Equal for all drawings of one thing, whatever their style."""
        return f"{self.style.kind}:{self.key}"


@dataclass
class DrawingSet:
    """The drawings found so far. Each key is taken once a style; further ones are problems.

    drawings: style -> key -> drawing.
    left_out: reason -> number of drawings.
    unnamed: keys of emoji without a known name.
    problems: one sentence each.
    """

    drawings: dict[str, dict[str, IconDrawing]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unnamed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, style: str, label: Label, path: Path) -> None:
        """Add the drawing in `path`; a second one of the same key and style is left out and noted as a problem."""
        known = self.drawings.setdefault(style, {})
        if key in known:
            self.problems.append(f"{path}: {style} has {key} already, from {known[key].path.name}; it is left out.")
        else:
            known[key] = IconDrawing(key, STYLES_BY_ID[style], label, path)


def normalised_tags(name: str, tags: Iterable[object]) -> tuple[str, ...]:
    """The tags that are strings, in lower case and on one line, without repetitions and without the name itself."""
    texts = (" ".join(tag.lower().split()) for tag in tags if isinstance(tag, str))
    return tuple(dict.fromkeys(text for text in texts if text and text != name))
