"""The files found in icon repositories, with their names, and what was left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools.icons.styles import STYLE, Style


@dataclass(frozen=True)
class IconName:
    """The name of a drawing, in lower case.

    tags: synonyms and keywords, without the name.
    group: a category.
    """

    name: str
    tags: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class IconFile:
    """One drawing in one style.

    key: code points ("1f34e") or the icon's name ("acorn").
    style: of the drawing.
    words: its name.
    path: an SVG or PNG file.
    """

    key: str
    style: Style
    words: IconName
    path: Path

    @property
    def concept(self) -> str:
        """The same for all drawings of one thing, in whatever style."""
        return f"{self.style.kind}:{self.key}"


@dataclass
class IconCollection:
    """All files found so far.

    drawings: by style and key.
    left_out: number of drawings by the reason why they are left out.
    unnamed: emoji without a known name.
    problems: a sentence each; a second drawing of the same key and style is one.
    """

    drawings: dict[str, dict[str, IconFile]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unnamed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, style: str, words: IconName, path: Path) -> None:
        """Add a drawing; a second one of the same key and style becomes a problem."""
        known = self.drawings.setdefault(style, {})
        if key in known:
            self.problems.append(f"{path}: {style} has {key} already, from {known[key].path.name}; it is left out.")
        else:
            known[key] = IconFile(key, STYLE[style], words, path)


def tidy_tags(name: str, tags: Iterable[object]) -> tuple[str, ...]:
    """The tags that are text, in lower case and on one line, each once, without the name itself."""
    texts = (" ".join(tag.lower().split()) for tag in tags if isinstance(tag, str))
    return tuple(dict.fromkeys(text for text in texts if text and text != name))
