"""Finds emoji in clones of their repositories. docs/icons.md lists the commits whose layouts were read."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.icons.drawings import DrawingSet
from tools.icons.names import EmojiNames, code_points, emoji_key, has_skin_tone, is_keycap_base, is_regional_indicator

_FLUENT_FOLDERS = {
    "3D": "fluent-3d",
    "Color": "fluent-color",
    "Flat": "fluent-flat",
    "High Contrast": "fluent-high-contrast",
}

# emoji_u1f468_200d_1f680.svg (Noto, Blobmoji), 1f468-200d-1f680.svg (Twemoji, EmojiTwo), 1F468-200D-1F680.svg (svgmoji)
_CODES = re.compile(r"(?:emoji_u)?([0-9a-fA-F]{2,6}(?:[-_][0-9a-fA-F]{2,6})*)\.(?:svg|png)")

# u1F436-dogface.svg; the layers of the colour font, u1F436.layer1.svg, are in the same folder.
_FIREFOX = re.compile(r"u([0-9a-fA-F]{2,6})-([^.]+)\.svg")


@dataclass(frozen=True)
class FluentEmoji:
    """One emoji of Fluent. folder: holds its drawings, a subfolder a style.  key: its code points."""

    folder: Path
    key: str


def fluent_emoji(clone: Path, names: EmojiNames, found: DrawingSet) -> list[FluentEmoji]:
    """Every emoji of Fluent; the names in its metadata.json files are added to `names`."""
    emoji = []
    for file in sorted(clone.glob("assets/*/metadata.json")):
        try:
            meta = json.loads(file.read_text(encoding="utf-8-sig"))
            key = emoji_key(code_points(meta["unicode"]))
            name, tags, group = str(meta.get("tts") or meta["cldr"]), meta.get("keywords", []), meta.get("group")
            names.add(key, name, tags if isinstance(tags, list) else [], group if isinstance(group, str) else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            found.problems.append(f"{file}: cannot read its unicode, cldr and keywords ({error}).")
            continue
        default = file.parent / "Default"
        emoji.append(FluentEmoji(default if default.is_dir() else file.parent, key))
    return emoji


def fluent(emoji: list[FluentEmoji], names: EmojiNames, found: DrawingSet) -> None:
    """assets/NAME/{3D,Color,Flat,High Contrast}/*.{png,svg}, in four styles."""
    for one in emoji:
        for folder, style in _FLUENT_FOLDERS.items():
            files = _pictures(one.folder / folder)
            if not files:
                found.left_out[f"not drawn in {style}"] += 1
            else:
                _add(one.key, style, files[0], names, found)


def noto(clone: Path, names: EmojiNames, found: DrawingSet) -> None:
    """svg/emoji_u*.svg, or else png/128/emoji_u*.png. Flags are in another folder (third_party) and are not taken."""
    _by_codes(clone, ("svg", "png/128"), "noto", names, found)


def blob(clone: Path, names: EmojiNames, found: DrawingSet) -> None:
    """svg/emoji_u*.svg of Blobmoji, or the svg folder of the svgmoji package."""
    _by_codes(clone, ("packages/svgmoji__blob/svg", "svg"), "blob", names, found)


def twemoji(clone: Path, names: EmojiNames, found: DrawingSet) -> None:
    """assets/svg/*.svg, or the svg folder of the svgmoji package, or else assets/72x72/*.png, enlarged."""
    _by_codes(clone, ("assets/svg", "packages/svgmoji__twemoji/svg", "svg", "assets/72x72"), "twemoji", names, found)


def emojitwo(clone: Path, names: EmojiNames, found: DrawingSet) -> None:
    """svg/*.svg in colour and svg_bw/*.svg in black."""
    _by_codes(clone, ("svg",), "emojitwo", names, found)
    _by_codes(clone, ("svg_bw",), "emojitwo-outline", names, found)


def fxemoji(clone: Path, names: EmojiNames, found: DrawingSet) -> None:
    """svgs/FirefoxEmoji/u1F436-dogface.svg; only the complete drawings, not the layers beside them."""
    for file in sorted(clone.glob("svgs/**/*.svg")):
        match = _FIREFOX.fullmatch(file.name)
        if match is None:
            continue
        key = emoji_key(code_points(match[1]))
        # A flag is two letters, but its file is named after the first of them alone.
        if is_regional_indicator(key) and match[2].lower().endswith("flag"):
            found.left_out["flags under one letter"] += 1
        else:
            _add(key, "fxemoji", file, names, found)


def _by_codes(clone: Path, folders: tuple[str, ...], style: str, names: EmojiNames, found: DrawingSet) -> None:
    """Add the pictures named after their code points, from the first of these folders that has any."""
    for folder in folders:
        files = list(_named_by_codes(clone / folder))
        for key, file in files:
            _add(key, style, file, names, found)
        if files:
            return


def _named_by_codes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Key and path of each picture whose name is its code points."""
    for file in _pictures(folder):
        match = _CODES.fullmatch(file.name)
        if match is not None:
            yield emoji_key(code_points(match[1])), file


def _pictures(folder: Path) -> list[Path]:
    """The SVG and PNG files directly in a folder, sorted by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.suffix in (".svg", ".png") and not file.name.startswith(".")
    )


def _add(key: str, style: str, file: Path, names: EmojiNames, found: DrawingSet) -> None:
    """Add a drawing of an emoji, unless it is of a kind that the data set leaves out."""
    label = names.get(key)
    if has_skin_tone(key):
        found.left_out["with a skin tone"] += 1
    elif is_keycap_base(key):
        found.left_out["digits and signs without their keycap"] += 1
    elif label is None:
        found.unnamed.add(key)
    else:
        found.add(key, style, label, file)
