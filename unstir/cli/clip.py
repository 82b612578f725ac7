"""unstir clip: pictures and words compared, by a CLIP of ours or of somebody else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import App, Parameter

from unstir.cli.progress import bar, say
from unstir.cli.results_output import hits_of, plain, print_hits, print_json, print_table, short, write_sheet
from unstir.errors import UserError
from unstir.request import checked_device

if TYPE_CHECKING:
    from torch import Tensor

    from unstir.interop.clip import ReadClip
    from unstir.interop.image_index import ImageIndex

T = TypeVar("T")

clip = App(
    name="clip",
    help="Compare pictures and words: a cosine near 1 says that they belong together.",
    help_epilogue="Begin with: unstir clip search FOLDER --words 'a red apple' --sheet found.png",
)

SHOWN_PROBLEMS = 5


@Parameter(name="*")
@dataclass(frozen=True)
class Using:
    """What all of these commands are told.

    Parameters
    ----------
    model
        A CLIP of unstir (file or run folder), or a folder saved by transformers or open_clip.
        Default: the one that comes with unstir.
    device
        cpu, cuda, or auto.
    as_json
        Print JSON instead of a table.
    """

    model: Path | None = None
    device: str = "auto"
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False


USING = Using()


@clip.command
def score(*pictures: Path, words: list[str], using: Using = USING) -> None:
    """Print the cosine of every picture with every text.

    Parameters
    ----------
    pictures
        Picture files, folders of pictures, or webdataset shards (.tar).
    words
        A text; may be given several times.
    """
    if not pictures:
        raise UserError("name a picture to score")
    read = _open(using)
    texts = _embed(read, words)
    rows: list[tuple[str, list[float]]] = []
    for path in pictures:
        gallery = _look(read, path)
        cosines = (gallery.vectors @ texts.T).tolist()
        rows += zip([entry.key for entry in gallery.entries], cosines, strict=True)
    if using.as_json:
        print_json(
            {"model": read.name, "words": words, "pictures": [{"picture": k, "cosines": short(c)} for k, c in rows]}
        )
    else:
        print_table(["picture", *words], [[key, *(f"{cosine:.3f}" for cosine in cosines)] for key, cosines in rows])


@clip.command
def classify(
    source: Path,
    *,
    labels: str,
    template: list[str] | None = None,
    using: Using = USING,
) -> None:
    """Give every picture of SOURCE the label that it is nearest to.

    Parameters
    ----------
    source
        A picture file, a folder of pictures, or webdataset shards (.tar).
    labels
        What there is to choose from, with commas between: cat,dog,red apple.
    template
        A sentence with {} for the label, "a picture of {}"; of several the mean is taken. Default: the bare label.
    """
    from unstir.models.zero_shot import LABEL, class_embeddings, label_probabilities

    names = [name.strip() for name in labels.split(",")]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise UserError(f"--labels needs two different labels or more with commas between, got {labels!r}")
    templates = template or [LABEL]
    read = _open(using)
    classes = _told(lambda: class_embeddings(read.model, _texts("--labels", names), _texts("--template", templates)))
    gallery = _look(read, source)
    shares = label_probabilities(read.model, gallery.vectors @ classes.T)
    best = shares.argmax(1).tolist()
    if using.as_json:
        rows = [
            {"picture": entry.key, "label": names[b], "certainty": dict(zip(names, short(row), strict=True))}
            for entry, b, row in zip(gallery.entries, best, shares.tolist(), strict=True)
        ]
        print_json({"model": read.name, "labels": names, "templates": templates, "pictures": rows})
        return
    certain = [row[b] for row, b in zip(shares.tolist(), best, strict=True)]
    print_table(
        ["picture", "label", "certainty"],
        [[e.key, names[b], f"{c:.0%}"] for e, b, c in zip(gallery.entries, best, certain, strict=True)],
    )
    if len(best) > 1:
        print(", ".join(f"{name}: {best.count(i)}" for i, name in enumerate(names)))


@clip.command
def search(
    source: Path,
    *,
    words: str | None = None,
    like: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 8,
    sheet: Path | None = None,
    using: Using = USING,
) -> None:
    """Find the pictures of SOURCE that are nearest to words, or to another picture.

    Parameters
    ----------
    source
        A folder of pictures, or webdataset shards (.tar).
    words
        What to look for.
    like
        A picture to which others are to be alike, instead of --words.
    n
        How many to find.
    sheet
        A PNG to write with the pictures found.
    """
    from unstir.models.zero_shot import nearest

    if (words is None) == (like is None):
        raise UserError("give either --words or --like, to say what to look for")
    _check(n, sheet)
    read = _open(using)
    query = _query(read, words, like)
    gallery = _look(read, source)
    found = nearest(query, gallery.vectors, n)
    hits = hits_of(gallery, found.rows[0].tolist(), found.cosines[0].tolist())
    if using.as_json:
        print_json({"model": read.name, "words": words, "like": like and str(like), "found": plain(hits)})
    else:
        print_hits(hits)
    if sheet is not None:
        write_sheet(sheet, [("", hits)])


@clip.command
def direction(
    source: Path,
    *,
    before: Annotated[str, Parameter(name="--from")],
    after: Annotated[str, Parameter(name="--to")],
    start: Path | None = None,
    words: str | None = None,
    strength: float = 1.0,
    n: Annotated[int, Parameter(alias="-n")] = 8,
    sheet: Path | None = None,
    using: Using = USING,
) -> None:
    """Move a picture's vector by the difference of two texts, and find the pictures of SOURCE nearest to where it ends.

    Parameters
    ----------
    source
        A folder of pictures, or webdataset shards (.tar).
    before
        What the difference is counted from: "a face".
    after
        What it is counted to: "a face with sunglasses".
    start
        The picture to begin at. Default: the one of SOURCE that is nearest to --from.
    words
        A text to begin at, instead of a picture.
    strength
        How many times to go the difference.
    n
        How many pictures to find.
    sheet
        A PNG to write: a row of the pictures nearest to the start, and one of those nearest to the end.
    """
    import torch

    from unstir.models.zero_shot import apply_direction, nearest

    if start is not None and words is not None:
        raise UserError("give either --start or --words, or neither")
    if not 0 < abs(strength) < float("inf"):
        raise UserError(f"--strength must be a finite number and not 0, got {strength}")
    _check(n, sheet)
    read = _open(using)
    difference = _embed(read, [before], "--from"), _embed(read, [after], "--to")
    begin = None if start is None and words is None else _query(read, words, start)
    gallery = _look(read, source)
    if begin is None:
        row = int(nearest(difference[0], gallery.vectors, 1).rows)
        begin = gallery.vectors[row : row + 1]
        say(f"beginning at {gallery.entries[row].key}, the nearest to {before!r}")
    found = nearest(torch.cat([begin, apply_direction(begin, *difference, strength)]), gallery.vectors, n)
    hits = [hits_of(gallery, *pair) for pair in zip(found.rows.tolist(), found.cosines.tolist(), strict=True)]
    if using.as_json:
        print_json({"model": read.name, "start": plain(hits[0]), "found": plain(hits[1])})
    else:
        print_hits(hits[1])
    if sheet is not None:
        write_sheet(sheet, [("start", hits[0]), (f"to: {after}", hits[1])])


# In


def _open(using: Using) -> "ReadClip":
    device = checked_device(using.device)

    from unstir.interop.clip import clip_at
    from unstir.weights.model_file import DEFAULT_CLIP

    if using.model is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation ships no CLIP; name one with --model")
    return clip_at(using.model or DEFAULT_CLIP, device)


def _told(run: Callable[[], T]) -> T:
    """What `run` returns; the sentence of a ValueError (a text that is too long) becomes a UserError."""
    try:
        return run()
    except ValueError as error:
        raise UserError(str(error)) from None


def _texts(option: str, texts: Sequence[str]) -> Sequence[str]:
    for text in texts:
        # Bytes on the command line that are not UTF-8 arrive as half surrogate pairs.
        if not text.strip() or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(f"{option} needs words, and not {text.encode(errors='backslashreplace').decode()!r}")
    return texts


def _embed(read: "ReadClip", texts: Sequence[str], option: str = "--words") -> "Tensor":
    _texts(option, texts)
    return _told(lambda: read.model.embed_words(texts).cpu())


def _query(read: "ReadClip", words: str | None, like: Path | None) -> "Tensor":
    """(1, width) of a text or of one picture."""
    if words is not None:
        return _embed(read, [words])
    assert like is not None
    if not like.is_file() or like.suffix.lower() == ".tar":
        raise UserError(f"{like} is not a picture; name one picture file")
    return _look(read, like).vectors


def _look(read: "ReadClip", source: Path) -> "ImageIndex":
    from unstir.interop.image_index import embed_images

    with bar("looking at pictures", 1) as progress:
        gallery = embed_images(read, source, lambda done, total: progress(done / total, f"{done:,} of {total:,}"))
    for problem in gallery.problems[:SHOWN_PROBLEMS]:
        say(f"left out {problem.key}: {problem.what}")
    if len(gallery.problems) > SHOWN_PROBLEMS:
        say(f"left out {len(gallery.problems) - SHOWN_PROBLEMS:,} more")
    return gallery


def _check(n: int, sheet: Path | None) -> None:
    if n < 1:
        raise UserError(f"-n must be 1 or more, got {n}")
    if sheet is not None and (sheet.suffix.lower() != ".png" or sheet.is_dir()):
        raise UserError(f"--sheet names a PNG to write, and {sheet} is none")
