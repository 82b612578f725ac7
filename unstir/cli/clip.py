"""unstir clip: compare pictures and texts with a CLIP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import App, Parameter

from unstir.cli.progress import bar, say
from unstir.cli.results_output import (
    hits_as_json,
    hits_from,
    print_hits,
    print_json,
    print_table,
    round_all,
    write_sheet,
)
from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.request import checked_device
from unstir.text.prompt import check_prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from unstir.interop.clip import LoadedClip
    from unstir.interop.image_index import ImageIndex

T = TypeVar("T")

clip = App(
    name="clip",
    help="Compare pictures and texts: the more alike their meaning, the higher the cosine similarity.",
    help_epilogue="Example: unstir clip search FOLDER --words 'a red apple' --sheet found.png",
)

SHOWN_PROBLEMS = 5


@Parameter(name="*")
@dataclass(frozen=True)
class ClipOptions:
    """Options of every command.

    Parameters
    ----------
    model
        A CLIP of unstir (file or run folder), or a folder that transformers or open_clip saved.
        Default: the one that comes with unstir.
    device
        cpu, cuda, or auto.
    as_json
        Print JSON instead of a table.
    """

    model: Path | None = None
    device: str = "auto"
    as_json: Annotated[bool, Parameter(name="--json", negative="", show_default=False)] = False


DEFAULTS = ClipOptions()


@clip.command(
    name="score", help_epilogue="Example: unstir clip score one.png two.png --words 'a red fish' --words 'a blue fish'"
)
def score_pictures(
    *pictures: Path, words: Annotated[list[str], Parameter(negative="")], options: ClipOptions = DEFAULTS
) -> None:
    """Print the cosine similarity of every picture with every text.

    Parameters
    ----------
    pictures
        Picture files, folders of pictures, or webdataset shards (.tar).
    words
        A text; may be given several times.
    """
    if not pictures:
        raise UserError("there is nothing to score; give at least one picture")
    loaded = _load(options)
    texts = _embed(loaded, words)
    rows: list[tuple[str, list[float]]] = []
    for path in pictures:
        index = _index(loaded, path)
        cosines = (index.vectors @ texts.T).tolist()
        rows += zip([entry.key for entry in index.entries], cosines, strict=True)
    if options.as_json:
        scores = [{"picture": key, "cosines": round_all(cosines)} for key, cosines in rows]
        print_json({"model": loaded.name, "words": words, "pictures": scores})
    else:
        print_table(["picture", *words], [[key, *(f"{cosine:.3f}" for cosine in cosines)] for key, cosines in rows])


@clip.command(help_epilogue="Example: unstir clip classify FOLDER --labels 'fish,house,red apple'")
def classify(
    source: Path,
    *,
    labels: str,
    template: Annotated[list[str] | None, Parameter(negative="")] = None,
    options: ClipOptions = DEFAULTS,
) -> None:
    """Assign a label to every picture of SOURCE, without training on these labels (zero-shot classification).

    Parameters
    ----------
    source
        A picture file, a folder of pictures, or webdataset shards (.tar).
    labels
        The labels to choose from, separated by commas: cat,dog,red apple.
    template
        A text with {} in place of the label, such as "a picture of {}". May be given several times; then the mean of
        their vectors is used. Default: the label alone.
    """
    from unstir.models.zero_shot import LABEL, class_embeddings, label_probabilities

    names = [name.strip() for name in labels.split(",")]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise UserError(f"--labels needs at least two different labels, separated by commas, got {labels!r}")
    templates = template or [LABEL]
    loaded = _load(options)
    _check_texts("--labels", names)
    _check_texts("--template", templates)
    classes = _or_user_error(lambda: class_embeddings(loaded.model, names, templates))
    index = _index(loaded, source)
    table = label_probabilities(loaded.model, index.vectors @ classes.T)
    best, probabilities = table.argmax(1).tolist(), table.tolist()
    if options.as_json:
        rows = [
            {"picture": entry.key, "label": names[b], "probabilities": dict(zip(names, round_all(row), strict=True))}
            for entry, b, row in zip(index.entries, best, probabilities, strict=True)
        ]
        print_json({"model": loaded.name, "labels": names, "templates": templates, "pictures": rows})
        return
    print_table(
        ["picture", "label", "probability"],
        [[e.key, names[b], f"{row[b]:.0%}"] for e, b, row in zip(index.entries, best, probabilities, strict=True)],
    )
    if len(best) > 1:
        print(", ".join(f"{name}: {best.count(i)}" for i, name in enumerate(names)))


@clip.command(help_epilogue="Example: unstir clip search FOLDER --words 'a red apple' -n 10 --sheet found.png")
def search(
    source: Path,
    *,
    words: str | None = None,
    like: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 8,
    sheet: Path | None = None,
    options: ClipOptions = DEFAULTS,
) -> None:
    """Find the pictures of SOURCE most similar to a text, or to another picture.

    Parameters
    ----------
    source
        A folder of pictures, or webdataset shards (.tar).
    words
        The text to search for.
    like
        The picture to search for, instead of --words.
    n
        The number of pictures to find.
    sheet
        Also write the pictures found to this PNG file.
    """
    from unstir.models.zero_shot import nearest

    if (words is None) == (like is None):
        raise UserError("give either --words or --like, to say what to search for")
    _check_output(n, sheet)
    loaded = _load(options)
    query = _query(loaded, words, like)
    index = _index(loaded, source)
    found = nearest(query, index.vectors, n)
    hits = hits_from(index, found.rows[0].tolist(), found.cosines[0].tolist())
    if options.as_json:
        print_json(
            {"model": loaded.name, "words": words, "like": like and str(like), "found": hits_as_json(hits)},
        )
    else:
        print_hits(hits)
    if sheet is not None:
        write_sheet(sheet, [("", hits)])


@clip.command(help_epilogue="Example: unstir clip direction FOLDER --start red-fish.png --from red --to blue")
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
    options: ClipOptions = DEFAULTS,
) -> None:
    """Change a picture's vector by the difference of two texts, and find the pictures of SOURCE most similar to it.

    Parameters
    ----------
    source
        A folder of pictures, or webdataset shards (.tar).
    before
        The text before the change: "a face".
    after
        The text after the change: "a face with sunglasses".
    start
        The picture to start from. Default: the picture of SOURCE most similar to --from.
    words
        A text to start from, instead of a picture.
    strength
        Direction scale: start + STRENGTH * (to - from) is searched for.
    n
        The number of pictures to find.
    sheet
        Also write the pictures to this PNG file: one row of those most similar to the start, one of those found.
    """
    import torch

    from unstir.models.zero_shot import apply_direction, nearest

    if start is not None and words is not None:
        raise UserError("give --start or --words, not both")
    if not 0 < abs(strength) < float("inf"):
        raise UserError(f"--strength must be a finite number other than 0, got {strength}")
    _check_output(n, sheet)
    loaded = _load(options)
    texts = _embed(loaded, [before], "--from"), _embed(loaded, [after], "--to")
    query = None if start is None and words is None else _query(loaded, words, start)
    index = _index(loaded, source)
    if query is None:
        row = int(nearest(texts[0], index.vectors, 1).rows)
        query = index.vectors[row : row + 1]
        say(f"starting from {index.entries[row].key}, the picture most similar to {before!r}")
    found = nearest(torch.cat([query, apply_direction(query, *texts, strength)]), index.vectors, n)
    hits = [hits_from(index, *pair) for pair in zip(found.rows.tolist(), found.cosines.tolist(), strict=True)]
    if options.as_json:
        print_json({"model": loaded.name, "start": hits_as_json(hits[0]), "found": hits_as_json(hits[1])})
    else:
        print_hits(hits[1])
    if sheet is not None:
        write_sheet(sheet, [("start", hits[0]), (f"to: {after}", hits[1])])


@clip.command(help_epilogue="Example: unstir clip vectors woman man girl boy --plot words.png")
def vectors(*words: str, plot: Path | None = None, options: ClipOptions = DEFAULTS) -> None:
    """Compare the vectors of words: the table of their cosines, and a plot of their first two principal components.

    Parameters
    ----------
    words
        Two words or texts, or more.
    plot
        Also draw the words in the plane of their first two principal components, and the cosines, to this PNG file.
    """
    from unstir.image.word_vectors import cosine_table, principal_components, word_vector_plot

    if len(words) < 2:
        raise UserError("give two words or more to compare")
    if plot is not None and (plot.suffix.lower() != ".png" or plot.is_dir()):
        raise UserError(f"--plot needs the name of a PNG file, got {plot}")
    name, found = _word_vectors(options, words)
    table = cosine_table(found)
    if options.as_json:
        at, fractions = principal_components(found)
        print_json(
            {
                "model": name,
                "words": words,
                "cosines": [round_all(row) for row in table.tolist()],
                "components": [round_all(row) for row in at.tolist()],
                "variance": round_all(fractions.tolist()),
            }
        )
    else:
        print_table(["", *words], [[word, *(f"{c:.2f}" for c in row)] for word, row in zip(words, table, strict=True)])
    if plot is not None:
        write_atomic(plot, word_vector_plot(words, found, f"word vectors of {name}"))
        say(f"written: {plot}")


def _word_vectors(options: ClipOptions, words: Sequence[str]) -> "tuple[str, NDArray[np.float64]]":
    """The name of a model and the vectors of texts: of a CLIP, or of the text encoder of a model that draws."""
    from unstir.weights.model_file import HEADER, kind_of_file, load_model, read_header

    if options.model is not None:
        path = options.model / "model.safetensors" if options.model.is_dir() else options.model
        if path.is_file() and HEADER in read_header(path)[0] and kind_of_file(path).settings is not None:
            loaded = load_model(path, checked_device(options.device))
            encoder = getattr(loaded.model, "encode_pooled", None)
            if encoder is None:
                raise UserError(f"{options.model} is {loaded.title} without word vectors; give another model")
            _check_texts("a word", words)
            return loaded.name, _or_user_error(lambda: encoder(words).double().cpu().numpy())
    clip = _load(options)
    return clip.name, _embed(clip, words, "a word").double().numpy()


def _load(options: ClipOptions) -> "LoadedClip":
    device = checked_device(options.device)

    from unstir.interop.clip import load_any_clip
    from unstir.weights.model_file import DEFAULT_CLIP

    if options.model is None and not DEFAULT_CLIP.exists():
        raise UserError("no CLIP comes with this installation; give one with --model")
    return load_any_clip(options.model or DEFAULT_CLIP, device)


def _or_user_error(run: Callable[[], T]) -> T:
    """The result of `run`; its ValueError (a text that is too long) becomes a UserError."""
    try:
        return run()
    except ValueError as error:
        raise UserError(str(error)) from None


def _check_texts(option: str, texts: Sequence[str]) -> None:
    """Refuse empty texts, texts that are too long, and texts that are not valid UTF-8."""
    for text in texts:
        check_prompt(text, option)
        if not text.strip():
            raise UserError(f"{option} needs a text, got {text.encode(errors='backslashreplace').decode()!r}")


def _embed(loaded: "LoadedClip", texts: Sequence[str], option: str = "--words") -> "Tensor":
    _check_texts(option, texts)
    return _or_user_error(lambda: loaded.model.embed_words(texts).cpu())


def _query(loaded: "LoadedClip", words: str | None, picture: Path | None) -> "Tensor":
    """The vector of a text or of one picture, (1, width)."""
    if words is not None:
        return _embed(loaded, [words])
    assert picture is not None
    if not picture.is_file() or picture.suffix.lower() == ".tar":
        raise UserError(f"{picture} is not a picture; give one picture file")
    return _index(loaded, picture).vectors


def _index(loaded: "LoadedClip", source: Path) -> "ImageIndex":
    from unstir.interop.image_index import embed_images

    with bar("reading pictures", 1) as progress:
        index = embed_images(loaded, source, lambda done, total: progress(done / total, f"{done:,} of {total:,}"))
    for problem in index.problems[:SHOWN_PROBLEMS]:
        say(f"left out {problem.key}: {problem.what}")
    if len(index.problems) > SHOWN_PROBLEMS:
        say(f"left out {len(index.problems) - SHOWN_PROBLEMS:,} more")
    return index


def _check_output(n: int, sheet: Path | None) -> None:
    if n < 1:
        raise UserError(f"-n must be 1 or more, got {n}")
    if sheet is not None and (sheet.suffix.lower() != ".png" or sheet.is_dir()):
        raise UserError(f"--sheet needs the name of a PNG file, got {sheet}")
