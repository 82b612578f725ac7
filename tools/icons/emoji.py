"""Finding emoji in the clones of their repositories; docs/icons.md lists the commits used."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.icons.drawings import IconCollection, IconName
from tools.icons.names import EmojiNames, codes_of, has_skin_tone, is_keyboard_sign, is_letter, points

_FLUENT_FOLDERS = {
    "3D": "fluent-3d",
    "Color": "fluent-color",
    "Flat": "fluent-flat",
    "High Contrast": "fluent-high-contrast",
}

# emoji_u1f468_200d_1f680.svg (Noto, Blobmoji), 1f468-200d-1f680.svg (Twemoji, EmojiTwo), 1F468-200D-1F680.svg (svgmoji)
_CODES = re.compile(r"(?:emoji_u)?([0-9a-fA-F]{2,6}(?:[-_][0-9a-fA-F]{2,6})*)\.(?:svg|png)")

# u1F436-dogface.svg; beside it lie the layers of the colour font, u1F436.layer1.svg.
_FIREFOX = re.compile(r"u([0-9a-fA-F]{2,6})-([^.]+)\.svg")


@dataclass(frozen=True)
class FluentEmoji:
    """One emoji of Fluent.

    folder: of its drawings; where skin tones exist, the subfolder Default.
    key: its code points.
    """

    folder: Path
    key: str


def fluent_emoji(clone: Path, names: EmojiNames, found: IconCollection) -> list[FluentEmoji]:
    """Every emoji of Fluent; adds the names in its metadata.json files to `names`."""
    emoji = []
    for file in sorted(clone.glob("assets/*/metadata.json")):
        try:
            meta = json.loads(file.read_text(encoding="utf-8-sig"))
            key = points(codes_of(meta["unicode"]))
            name, tags, group = str(meta.get("tts") or meta["cldr"]), meta.get("keywords", []), meta.get("group")
            names.learn(key, name, tags if isinstance(tags, list) else [], group if isinstance(group, str) else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            found.problems.append(f"{file}: its unicode, cldr and keywords cannot be read ({error}).")
            continue
        default = file.parent / "Default"
        emoji.append(FluentEmoji(default if default.is_dir() else file.parent, key))
    return emoji


def fluent(emoji: list[FluentEmoji], names: EmojiNames, found: IconCollection) -> None:
    """assets/NAME/{3D,Color,Flat,High Contrast}/*.{png,svg}, in four styles."""
    for one in emoji:
        for folder, style in _FLUENT_FOLDERS.items():
            files = _pictures(one.folder / folder)
            if not files:
                found.left_out[f"not drawn in {style}"] += 1
            else:
                _add(one.key, style, files[0], names, found)


def noto(clone: Path, names: EmojiNames, found: IconCollection) -> None:
    """svg/emoji_u*.svg, or else png/128/emoji_u*.png; without flags, which are in third_party."""
    _by_codes(clone, ("svg", "png/128"), "noto", names, found)


def blob(clone: Path, names: EmojiNames, found: IconCollection) -> None:
    """svg/emoji_u*.svg of Blobmoji, or the svg folder of the svgmoji package."""
    _by_codes(clone, ("packages/svgmoji__blob/svg", "svg"), "blob", names, found)


def twemoji(clone: Path, names: EmojiNames, found: IconCollection) -> None:
    """assets/svg/*.svg, or the svg folder of the svgmoji package, or else assets/72x72/*.png, enlarged."""
    _by_codes(clone, ("assets/svg", "packages/svgmoji__twemoji/svg", "svg", "assets/72x72"), "twemoji", names, found)


def emojitwo(clone: Path, names: EmojiNames, found: IconCollection) -> None:
    """svg/*.svg in colour and svg_bw/*.svg in black."""
    _by_codes(clone, ("svg",), "emojitwo", names, found)
    _by_codes(clone, ("svg_bw",), "emojitwo-outline", names, found)


def fxemoji(clone: Path, names: EmojiNames, found: IconCollection) -> None:
    """svgs/FirefoxEmoji/u1F436-dogface.svg; only the complete drawings, not the layers beside them."""
    for file in sorted(clone.glob("svgs/**/*.svg")):
        match = _FIREFOX.fullmatch(file.name)
        if match is None:
            continue
        key = points(codes_of(match[1]))
        # A flag is two letters, but its file is named after the first of them alone.
        if is_letter(key) and match[2].lower().endswith("flag"):
            found.left_out["flags under one letter"] += 1
        else:
            _add(key, "fxemoji", file, names, found)


def _by_codes(clone: Path, folders: tuple[str, ...], style: str, names: EmojiNames, found: IconCollection) -> None:
    """The pictures named after their code points, in the first of these folders that has any."""
    for folder in folders:
        files = list(_named_by_codes(clone / folder))
        for key, file in files:
            _add(key, style, file, names, found)
        if files:
            return


def _named_by_codes(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in _pictures(folder):
        match = _CODES.fullmatch(file.name)
        if match is not None:
            yield points(codes_of(match[1])), file


def _pictures(folder: Path) -> list[Path]:
    """The SVG and PNG files right in a folder, by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.suffix in (".svg", ".png") and not file.name.startswith(".")
    )


def _add(key: str, style: str, file: Path, names: EmojiNames, found: IconCollection) -> None:
    """Add a drawing of an emoji, unless it is one that is left out."""
    words: IconName | None = names.of(key)
    if has_skin_tone(key):
        found.left_out["with a skin tone"] += 1
    elif is_keyboard_sign(key):
        found.left_out["digits and signs without their keycap"] += 1
    elif words is None:
        found.unnamed.add(key)
    else:
        found.add(key, style, words, file)
