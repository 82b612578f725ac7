"""A built-in set of real pictures: the 1,797 handwritten digits that come with scikit-learn, 8 × 8 pixels each."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from unstir.data.pictures import Pictures
from unstir.diffusion.philox import keyed_permutation
from unstir.errors import UserError

NATIVE = 8
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPLIT_SEED = 1797
_TEST_SHARE = 0.2


def digit_pictures(size: int = NATIVE, part: Literal["train", "test", "all"] = "train") -> Pictures:
    """Handwritten digits, white on black, with five captions each.

    size: side in pixels; 8 is the native size, others are resampled smoothly.
    part: 80 % "train" (1,438) and 20 % "test" (359), by a fixed random split, or "all" (1,797).
    Returns pixels (N, size, size, 3) uint8 with three equal channels; meta is {"digit": 0..9}.
    Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part).
    Raises UserError without scikit-learn, ValueError for another part or a size below 1.
    """
    if size < 1 or part not in ("train", "test", "all"):
        raise ValueError(f"digits has the parts train, test and all, and sizes >= 1: {part=}, {size=}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("the digits come with scikit-learn; install `unstir[digits]`") from error
    images, labels = load_digits(return_X_y=True)
    chosen = _part(len(labels), part)
    grey = _to_bytes(np.asarray(images, dtype=np.float64).reshape(-1, NATIVE, NATIVE)[chosen], size)
    kinds = [int(labels[i]) for i in chosen]
    return Pictures(
        np.repeat(grey[..., None], 3, axis=-1),
        [digit_captions(kind) for kind in kinds],
        [f"digits/{i:04d}" for i in chosen],
        [{"digit": kind} for kind in kinds],
    )


def digit_captions(digit: int) -> tuple[str, ...]:
    """What a picture of `digit` (0..9) may be called; the first is the plain caption."""
    name = NAMES[digit]
    article = "an" if name == "eight" else "a"
    return (
        f"a handwritten {name}",
        f"a handwritten {digit}",
        f"the digit {name}",
        f"the digit {digit}",
        f"{article} {name}",
    )


def _part(n: int, part: str) -> npt.NDArray[np.int64]:
    """The sorted indices of a part. NumPy guarantees raw Philox numbers, so the split stays the same."""
    if part == "all":
        return np.arange(n, dtype=np.int64)
    shuffled = keyed_permutation(n, _SPLIT_SEED)
    first = round(n * _TEST_SHARE)
    return np.sort(shuffled[:first] if part == "test" else shuffled[first:]).astype(np.int64)


def _to_bytes(images: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """(N, 8, 8) in 0..16 to (N, size, size) uint8. Resampled as floats, so that values are rounded once."""
    scaled: npt.NDArray[np.float32] = (images * (255 / 16)).astype(np.float32)
    if size != NATIVE:
        side, method = (size, size), Image.Resampling.BICUBIC
        scaled = np.stack([np.asarray(Image.fromarray(image).resize(side, method)) for image in scaled])
    grey: npt.NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return grey
