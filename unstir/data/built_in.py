"""Built-in data sets by name: "digits" and "shapes" in place of a path."""

from pathlib import Path

from unstir.data.digits import NATIVE, digit_pictures
from unstir.data.pictures import Pictures
from unstir.data.shapes import shape_pictures
from unstir.data.sources import Source, open_source

BUILT_IN = ("digits", "shapes")


def open_data(
    name: str | Path,
    size: int | None = None,
    seed: int = 0,
    count: int = 10_000,
    held_out: bool = False,
) -> Pictures | Source:
    """A built-in set, ready packed, or the source at a path. A folder or file of that name is preferred.

    size: side of built-in pictures in pixels, None for their own (digits 8, shapes 32).
    seed, count: for shapes.  held_out: the test digits, or shapes in combinations never shown in training.
    Raises UserError as `open_source` and `digits` do.
    """
    if Path(name).exists() or str(name) not in BUILT_IN:
        return open_source(name)
    if str(name) == "digits":
        return digit_pictures(size or NATIVE, "test" if held_out else "train")
    return shape_pictures(count, size or 32, seed, held_out)
