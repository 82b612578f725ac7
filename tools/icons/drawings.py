"""What the layouts of the icon repositories give: drawings with words for them, and what was left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools.icons.styles import STYLE, Style


@dataclass(frozen=True)
class IconName:
    """What a drawing is called, in lower case. tags: synonyms and keywords without the name.  group: a category."""

    name: str
    tags: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class IconFile:
    """One drawing in one style. key: code points ("1f34e") or the icon's name ("acorn").  path: an SVG or PNG file."""

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
    """What the layouts have found so far. A key is taken once in a style; who comes later is a problem.

    left_out: why drawings are not wanted, and how many.  unnamed: emoji for which no name is known.
    """

    drawings: dict[str, dict[str, IconFile]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unnamed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, style: str, words: IconName, path: Path) -> None:
        """Take the drawing in `path`; a second one of the same key and style is named and left out."""
        known = self.drawings.setdefault(style, {})
        if key in known:
            self.problems.append(f"{path}: {style} has {key} already, from {known[key].path.name}; it is left out.")
        else:
            known[key] = IconFile(key, STYLE[style], words, path)


def tidy_tags(name: str, tags: Iterable[object]) -> tuple[str, ...]:
    """The tags that are text, in lower case and on one line, each once, without the name itself."""
    texts = (" ".join(tag.lower().split()) for tag in tags if isinstance(tag, str))
    return tuple(dict.fromkeys(text for text in texts if text and text != name))
