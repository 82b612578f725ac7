"""Names, tags and groups of emoji, from Fluent's metadata, Unicode's emoji-test.txt and CLDR's annotations.

The key of an emoji is its code points in hexadecimal, without fe0f: "2764", "1f468-200d-1f680". The source read first
decides on name and group; later ones fill in what is missing.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tools.icons.drawings import Label, normalised_tags
from unstir.errors import UserError

_PRESENTATION = 0xFE0F  # asks for colour; repositories disagree on writing it, so it is never part of a key
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_LETTERS = range(0x1F1E6, 0x1F200)

_LINE = re.compile(r"([0-9A-F ]+?)\s*;[^#]*#\s*\S+\s+(?:E\d+\.\d+\s+)?(.+)")


def emoji_key(codes: Iterable[int]) -> str:
    """The key of an emoji with these code points."""
    return "-".join(f"{code:x}" for code in codes if code != _PRESENTATION)


def code_points(key: str) -> list[int]:
    """The code points of "1f468-200d-1f680"; they may also be separated by "_" or a space."""
    return [int(part, 16) for part in re.split(r"[-_ ]", key.strip())]


def has_skin_tone(key: str) -> bool:
    """Whether a skin tone is part of it. The data set has every person once, without one."""
    return any(code in _SKIN_TONES for code in code_points(key))


def is_keycap_base(key: str) -> bool:
    """Whether it is a digit, # or * alone, which emoji fonts contain only as the first part of a keycap."""
    return all(code < 0x80 for code in code_points(key))


def is_regional_indicator(key: str) -> bool:
    """Whether it is a single regional indicator, one of the two letters of a flag."""
    codes = code_points(key)
    return len(codes) == 1 and codes[0] in _LETTERS


class EmojiNames:
    """Names, tags and groups of emoji."""

    def __init__(self) -> None:
        self._labels: dict[str, Label] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, key: str, name: str, tags: Sequence[object] = (), group: str | None = None) -> None:
        """Add what one source says of an emoji. Tags are sorted, because their order differs from source to source."""
        known = self._labels.get(key)
        name = known.name if known else " ".join(name.lower().split())
        kept = known.tags if known and known.tags else tuple(sorted(normalised_tags(name, tags)))
        if name:
            self._labels[key] = Label(name, kept, known.group if known and known.group else group)

    def get(self, key: str) -> Label | None:
        """The label of an emoji, or None. Single letters of flags, which Unicode's lists leave out, are named here."""
        if is_regional_indicator(key):
            return Label(f"regional indicator {chr(ord('a') + code_points(key)[0] - _LETTERS.start)}")
        return self._labels.get(key)


def read_emoji_test(path: Path, names: EmojiNames) -> None:
    """Add names and groups from Unicode's emoji-test.txt, any version."""
    group: str | None = None
    read = False
    for line in _text(path).splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif found := _LINE.fullmatch(line.rstrip()):
            read = True
            key = emoji_key(code_points(found[1]))
            if not has_skin_tone(key):
                names.add(key, found[2], group=None if group == "Component" else group)
    if not read:
        raise UserError(f"{path} is not an emoji-test.txt: take the one from https://unicode.org/Public/emoji/.")


def read_annotations(path: Path, names: EmojiNames) -> None:
    """Add names and keywords from CLDR: common/annotations/en.xml or common/annotationsDerived/en.xml."""
    try:
        root = ElementTree.fromstring(_text(path))
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not XML: give CLDR's common/annotations/en.xml. ({error})") from error
    names_by_key: dict[str, str] = {}
    tags: dict[str, list[str]] = {}
    for annotation in root.iter("annotation"):
        key = emoji_key(ord(char) for char in annotation.get("cp", ""))
        text = annotation.text or ""
        if not key or has_skin_tone(key):
            continue
        if annotation.get("type") == "tts":
            names_by_key[key] = text
        else:
            tags[key] = text.split("|")
    if not names_by_key:
        raise UserError(f"{path} contains no annotations: give CLDR's common/annotations/en.xml.")
    for key, name in names_by_key.items():
        names.add(key, name, tags.get(key, ()))


def _text(path: Path) -> str:
    """The content of a text file; UserError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: check the path. ({error})") from error
