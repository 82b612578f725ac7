"""What every layout gives: entries (a picture and its caption) and problems (what was left out, and why)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unstir.errors import UserError

SECOND_CHOICE = frozenset({"gif", "tif", "tiff", "avif"})
"""Extensions of pictures that are taken where a key has no other picture."""

PICTURES = frozenset({"png", "jpg", "jpeg", "webp", "bmp"}) | SECOND_CHOICE
"""Extensions that count as pictures, in lower case and without the dot."""

OTHER_PICTURES = frozenset({"heic", "heif", "svg", "jxl", "jp2"})
"""Extensions of pictures that are not read. They are reported as problems."""

CAPTION_FIELDS = ("text", "caption")
"""Where a caption may stand in a JSON object or a metadata row; the first that holds text is taken."""

LONGEST_CAPTION = 500
"""Characters. One longer caption would widen the text context of the whole model, and so slow down every picture."""

Read = Callable[[], bytes]


@dataclass(frozen=True)
class Entry:
    """One captioned picture.

    key: relative path without extension, '/'-separated; unique in its source.
    caption: 1 to LONGEST_CAPTION characters, no line breaks.
    meta: the other fields of its .json or metadata row, JSON values.
    read: gives the encoded picture (PNG, JPEG, ...); safe to call from several threads; raises OSError.
    """

    key: str
    caption: str
    meta: Mapping[str, object]
    read: Read


@dataclass(frozen=True)
class Problem:
    """Something left out.

    key: of the entry, or the name of a file.  what: why, one sentence without a full stop; shown as "key: what".
    """

    key: str
    what: str


@dataclass(frozen=True)
class Source:
    """A data set that can be opened.

    name: its path.  layout: "folder", "imagefolder" or "webdataset".
    entries: sorted by key, at least one.  problems: what was left out.
    """

    name: str
    layout: str
    entries: list[Entry]
    problems: list[Problem]


@dataclass
class Collected:
    """What a layout has found so far. Of two entries with one key the second is a problem."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, entry: Entry, where: str) -> None:
        """Add `entry`, unless its caption is too long or its key exists. where: its file, for the problem."""
        if len(entry.caption) > LONGEST_CAPTION:
            long = len(entry.caption)
            self.problem(entry.key, f"its caption has {long} characters; shorten it to {LONGEST_CAPTION} at most")
        elif entry.key in self.entries:
            self.problem(entry.key, f"{where} has the same key as an earlier picture and is left out")
        else:
            self.entries[entry.key] = entry

    def problem(self, key: str, what: str) -> None:
        self.problems.append(Problem(key, what))

    def source(self, name: str, layout: str) -> Source:
        """Everything found, sorted by key. Raises UserError when no picture can be used."""
        problems = sorted(self.problems, key=lambda problem: (problem.key, problem.what))
        if not self.entries:
            if not problems:
                raise UserError(
                    f"there are no pictures in {name}; put in x.png with its caption in x.txt, a metadata.jsonl, "
                    "or .tar shards"
                )
            first = problems[0]
            raise UserError(
                f"no picture in {name} can be used; the first of {len(problems)} problems, {first.key}: {first.what}"
            )
        return Source(name, layout, [self.entries[key] for key in sorted(self.entries)], problems)


def leaves_folder(name: str) -> bool:
    """Whether a relative name is absolute or has a '..' in it, so that it could leave its folder."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")


def tidy(text: str) -> str:
    """A caption on one line: runs of white space become one space, lone surrogates (broken \\u escapes) become '?'."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def split_caption(row: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """The caption in a JSON object or metadata row ("" if there is none), and the other fields."""
    for name in CAPTION_FIELDS:
        value = row.get(name)
        if isinstance(value, str) and tidy(value):
            return tidy(value), {key: other for key, other in row.items() if key != name}
    return "", dict(row)


Samples = dict[str, dict[str, Read]]
"""The files of each key, sorted by full name: extension in lower case without dot ("png", "txt") -> its reader."""


def group_file(found: Collected, samples: Samples, key: str, extension: str, name: str, read: Read) -> None:
    """Put the file `name` with the others of its key. Where two differ only in case (x.PNG, x.png) the first stays."""
    parts = samples.setdefault(key, {})
    if extension in parts:
        found.problem(key, f"{name} has the name of an earlier file, apart from upper and lower case; it is left out")
    else:
        parts[extension] = read


def add_sample(found: Collected, key: str, parts: Mapping[str, Read]) -> None:
    """Turn the files of one key into an entry, or into problems. For the folder and the tar layout.

    parts: as in `Samples`; of several pictures the first is taken, GIF, TIFF and AVIF after the others.
    """
    pictures = sorted((extension for extension in parts if extension in PICTURES), key=SECOND_CHOICE.__contains__)
    if not pictures:
        _explain_no_picture(found, key, parts)
        return
    try:
        meta = _json_object(parts["json"]) if "json" in parts else {}
        caption = tidy(parts["txt"]().decode("utf-8-sig")) if "txt" in parts else ""
    except (ValueError, RecursionError):  # JSON and UTF-8 errors are ValueErrors; deep nesting recurses
        found.problem(key, "its .txt or .json is not readable (text must be UTF-8, JSON must be one object)")
        return
    except OSError as error:
        found.problem(key, f"its .txt or .json cannot be opened ({error.strerror or error})")
        return
    if "txt" not in parts:
        caption, meta = split_caption(meta)
    if not caption:
        what = "its caption is empty" if "txt" in parts else f"it has no caption; write one to {key}.txt"
        found.problem(key, what)
        return
    for extension in pictures:
        found.add(Entry(key, caption, meta, parts[extension]), f"{key}.{extension}")


def _explain_no_picture(found: Collected, key: str, parts: Mapping[str, Read]) -> None:
    """Report why a key without a picture gives no entry. A .json without a caption is no problem."""
    foreign = sorted(ext for ext in parts if ext.rpartition(".")[2] in OTHER_PICTURES)
    dotted = sorted(ext for ext in parts if "." in ext and ext.rpartition(".")[2] in PICTURES)
    if foreign:
        found.problem(key, f"{key}.{foreign[0]} is a kind of picture that is not read; convert it to PNG")
    elif dotted:
        found.problem(key, f"{key}.{dotted[0]} has a dot in its name, and in a tar the key ends at the first dot")
    elif "txt" in parts:
        found.problem(key, "there is a caption but no picture")
    elif "json" in parts:
        try:
            lonely = bool(split_caption(_json_object(parts["json"]))[0])
        except (ValueError, RecursionError, OSError):
            lonely = False
        if lonely:
            found.problem(key, "there is a caption but no picture")


def _json_object(read: Read) -> dict[str, object]:
    """One JSON object. Raises ValueError if it is anything else."""
    value = json.loads(read().decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
