"""Names of emoji, from Fluent's metadata, Unicode's emoji-test.txt and CLDR's annotations.

The key of an emoji is its code points in hexadecimal, without fe0f: "2764", "1f468-200d-1f680". The first source of a
name or group is used; later ones add what is missing.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tools.icons.drawings import IconName, tidy_tags
from unstir.errors import UserError

_PRESENTATION = 0xFE0F  # asks for colour; repositories disagree on writing it, so it is never part of a key
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_LETTERS = range(0x1F1E6, 0x1F200)

_LINE = re.compile(r"([0-9A-F ]+?)\s*;[^#]*#\s*\S+\s+(?:E\d+\.\d+\s+)?(.+)")


def points(codes: Iterable[int]) -> str:
    """The key of an emoji."""
    return "-".join(f"{code:x}" for code in codes if code != _PRESENTATION)


def codes_of(key: str) -> list[int]:
    """The code points of "1f468-200d-1f680", with any separator."""
    return [int(part, 16) for part in re.split(r"[-_ ]", key.strip())]


def has_skin_tone(key: str) -> bool:
    """Whether the emoji has a skin tone. The data set has every person once, in the neutral colour."""
    return any(code in _SKIN_TONES for code in codes_of(key))


def is_keyboard_sign(key: str) -> bool:
    """Whether it is a digit, # or *, which emoji fonts have only as parts of keycaps."""
    return all(code < 0x80 for code in codes_of(key))


def is_letter(key: str) -> bool:
    """Whether it is a regional indicator, half of a flag."""
    codes = codes_of(key)
    return len(codes) == 1 and codes[0] in _LETTERS


class EmojiNames:
    """Names, tags and groups of emoji."""

    def __init__(self) -> None:
        self._words: dict[str, IconName] = {}

    def __len__(self) -> int:
        return len(self._words)

    def learn(self, key: str, name: str, tags: Sequence[object] = (), group: str | None = None) -> None:
        """Add the name, tags and group of an emoji from one source; tags are sorted."""
        known = self._words.get(key)
        name = known.name if known else " ".join(name.lower().split())
        kept = known.tags if known and known.tags else tuple(sorted(tidy_tags(name, tags)))
        if name:
            self._words[key] = IconName(name, kept, known.group if known and known.group else group)

    def of(self, key: str) -> IconName | None:
        """The name of an emoji, or None. Regional indicators, the parts of flags, are not in Unicode's lists."""
        if is_letter(key):
            return IconName(f"regional indicator {chr(ord('a') + codes_of(key)[0] - _LETTERS.start)}")
        return self._words.get(key)


def read_emoji_test(path: Path, names: EmojiNames) -> None:
    """Names and groups from Unicode's emoji-test.txt, any version."""
    group: str | None = None
    read = False
    for line in _text(path).splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif found := _LINE.fullmatch(line.rstrip()):
            read = True
            key = points(codes_of(found[1]))
            if not has_skin_tone(key):
                names.learn(key, found[2], group=None if group == "Component" else group)
    if not read:
        raise UserError(f"{path} is no emoji-test.txt: take the one at https://unicode.org/Public/emoji/.")


def read_annotations(path: Path, names: EmojiNames) -> None:
    """Names and keywords from CLDR's annotations: common/annotations/en.xml or common/annotationsDerived/en.xml."""
    try:
        root = ElementTree.fromstring(_text(path))
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is no XML: give CLDR's common/annotations/en.xml. ({error})") from error
    spoken: dict[str, str] = {}
    tags: dict[str, list[str]] = {}
    for annotation in root.iter("annotation"):
        key = points(ord(sign) for sign in annotation.get("cp", ""))
        text = annotation.text or ""
        if not key or has_skin_tone(key):
            continue
        if annotation.get("type") == "tts":
            spoken[key] = text
        else:
            tags[key] = text.split("|")
    if not spoken:
        raise UserError(f"{path} holds no annotations: give CLDR's common/annotations/en.xml.")
    for key, name in spoken.items():
        names.learn(key, name, tags.get(key, ()))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: check the path. ({error})") from error
