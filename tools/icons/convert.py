"""Converts local clones of public icon repositories into the shards that the icon recipe trains on.

    python -m tools.icons.convert OUT --fluent PATH --noto PATH --emoji-test PATH …

Writes OUT/STYLE.tar, one for each style of the given repositories. docs/icons.md lists the repositories.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.icons.drawings import DrawingSet
from tools.icons.emoji import FluentEmoji, blob, emojitwo, fluent, fluent_emoji, fxemoji, noto, twemoji
from tools.icons.lines import lucide, material, phosphor
from tools.icons.names import EmojiNames, read_annotations, read_emoji_test
from tools.icons.pictures import RenderError, require_svg_renderer
from tools.icons.shards import write_style
from tools.icons.styles import STYLES
from unstir.errors import UserError

REPOSITORIES = {
    "fluent": "https://github.com/microsoft/fluentui-emoji",
    "noto": "https://github.com/googlefonts/noto-emoji",
    "blob": "https://github.com/svgmoji/svgmoji",
    "twemoji": "https://github.com/svgmoji/svgmoji",
    "fxemoji": "https://github.com/mozilla/fxemoji",
    "emojitwo": "https://github.com/EmojiTwo/emojitwo",
    "phosphor": "https://github.com/phosphor-icons/core",
    "lucide": "https://github.com/lucide-icons/lucide",
    "material": "https://github.com/Templarian/MaterialDesign-SVG",
}
"""Where each repository is cloned from, for error messages; docs/icons.md has the whole table."""

_EMOJI: dict[str, Callable[[Path, EmojiNames, DrawingSet], None]] = {
    "noto": noto, "blob": blob, "twemoji": twemoji, "fxemoji": fxemoji, "emojitwo": emojitwo,
}  # fmt: skip
_LINES: dict[str, Callable[[Path, DrawingSet], None]] = {"phosphor": phosphor, "lucide": lucide, "material": material}

_SHOWN = 20
"""How many problems are printed one by one."""


@dataclass(frozen=True)
class ConversionReport:
    """The result of a conversion.

    written: style -> number of drawings.
    left_out: reason -> number of drawings.
    unnamed: keys of emoji without a known name.
    problems: one sentence each.
    """

    written: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def lines(self, shown: int = _SHOWN) -> list[str]:
        """The report as lines of text. shown: how many problems are printed."""
        lines = [f"{sum(self.written.values()):,} drawing(s) in {len(self.written)} style(s)"]
        lines += [f"left out: {number:,} {why}" for why, number in sorted(self.left_out.items())]
        if self.unnamed:
            some = ", ".join(self.unnamed[:5])
            lines.append(f"left out: {len(self.unnamed):,} emoji without a known name ({some}{_more(self.unnamed, 5)})")
        lines += [f"problem: {problem}" for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f"… and {len(self.problems) - shown:,} more problems")
        return lines


def convert(
    out: Path,
    clones: Mapping[str, Path],
    emoji_test: Path | None = None,
    annotations: Sequence[Path] = (),
    size: int = 128,
    say: Callable[[str], None] = print,
) -> ConversionReport:
    """Write one tar for each style into a folder.

    out: folder for the tar files.
    clones: key of REPOSITORIES -> folder of its clone.
    emoji_test: Unicode's emoji-test.txt.
    annotations: CLDR's annotation files.
    size: side of the pictures in pixels.
    say: called with a line for each file written.
    All drawings are found before the first file is written. The same clones, size and versions of resvg-py and Pillow
    give the same bytes.
    Raises UserError for no clone, a missing folder, an unknown layout, or emoji without a list of names.
    """
    _check(out, clones, size)
    found, names = DrawingSet(), EmojiNames()
    emoji: list[FluentEmoji] = fluent_emoji(clones["fluent"], names, found) if "fluent" in clones else []
    if emoji_test:
        read_emoji_test(emoji_test, names)
    for path in annotations:
        read_annotations(path, names)
    if not len(names) and clones.keys() & _EMOJI.keys():
        raise UserError("There are no names for the emoji: give --emoji-test (https://unicode.org/Public/emoji/).")
    for name, clone in clones.items():
        before = sum(map(len, found.drawings.values()))
        if name == "fluent":
            fluent(emoji, names, found)
        elif name in _EMOJI:
            _EMOJI[name](clone, names, found)
        else:
            _LINES[name](clone, found)
        if sum(map(len, found.drawings.values())) == before:
            raise UserError(f"--{name} {clone} contains no drawings: is it a clone of {REPOSITORIES[name]}?")
    if any(drawing.path.suffix == ".svg" for drawings in found.drawings.values() for drawing in drawings.values()):
        require_svg_renderer()

    written, problems = {}, list(found.problems)
    for style in STYLES:
        if style.id in found.drawings:
            shard = out / f"{style.id}.tar"
            try:
                written[style.id] = write_style(shard, found.drawings[style.id], size, problems)
            except RenderError as error:
                problems.append(f"{shard} is not written: {error}.")
                continue
            except OSError as error:
                raise UserError(f"{shard} cannot be written: {error.strerror or error}.") from error
            say(f"{shard}: {written[style.id]:,} drawing(s)")
    return ConversionReport(written, dict(found.left_out), tuple(sorted(found.unnamed)), tuple(problems))


def _check(out: Path, clones: Mapping[str, Path], size: int) -> None:
    """Raise UserError for bad arguments."""
    if not clones:
        raise UserError("Nothing to convert: give at least one clone, such as --fluent PATH.")
    if not 16 <= size <= 512:
        raise UserError(f"--size must be 16 to 512 pixels, got {size}.")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the shards.")
    for name, clone in clones.items():
        if not clone.is_dir():
            raise UserError(f"There is no folder {clone}: clone {REPOSITORIES[name]} there, or correct --{name}.")


def _more(things: Sequence[str], shown: int) -> str:
    return ", …" if len(things) > shown else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser("python -m tools.icons.convert", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the shards")
    for name, url in REPOSITORIES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"clone of {url}")
    parser.add_argument("--emoji-test", type=Path, metavar="PATH", help="Unicode's emoji-test.txt: names and groups")
    parser.add_argument(
        "--annotations", type=Path, metavar="PATH", nargs="+", default=[], help="CLDR's en.xml: names and keywords"
    )
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (default: 128)")
    given = parser.parse_args(arguments)
    clones = {name: getattr(given, name) for name in REPOSITORIES if getattr(given, name) is not None}
    try:
        report = convert(given.out, clones, given.emoji_test, given.annotations, given.size)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*report.lines(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
