"""Exploring a model: paths between two prompts, seeds or pictures; variations of a picture; directions of words.

Shared by the command line and the Python interface.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unstir.data.transforms import fit
from unstir.diffusion.noise import Between
from unstir.errors import UserError
from unstir.models.exploration import BetweenPictures, BetweenPrompts, Edits, Varies
from unstir.models.generative import GenerativeModel, Pixels, final
from unstir.text.prompt import check_prompt

if TYPE_CHECKING:
    from unstir.settings import Settings


@dataclass(frozen=True)
class Ends:
    """The two ends of a path.

    kind: "prompts", "seeds" or "pictures".
    a, b: texts, whole numbers, or (1, H, W, C) uint8 tensors.
    """

    kind: str
    a: Any
    b: Any


def ends_of(a: str, b: str, shape: tuple[int, int, int]) -> Ends:
    """What two words of a command line stand for: two picture files, two seeds, or else two prompts.

    shape: (channels, side, side) of the model's pictures.
    UserError where the two are of different kinds, or a prompt cannot be one.
    """
    if Path(a).is_file() and Path(b).is_file():
        return Ends("pictures", read_picture(Path(a), shape), read_picture(Path(b), shape))
    if a.isascii() and a.isdigit() and b.isascii() and b.isdigit():
        return Ends("seeds", int(a), int(b))
    for one in (a, b):
        if Path(one).is_file() or (one.isascii() and one.isdigit()):
            raise UserError(f"{a!r} and {b!r} are of different kinds; give two pictures, two seeds, or two prompts")
        if Path(one).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            raise UserError(f"there is no picture {one}")
        check_prompt(one)
    return Ends("prompts", a, b)


def ends_from(a: Any, b: Any, shape: tuple[int, int, int]) -> Ends:
    """The ends of a path in Python: PIL images, paths of pictures, whole numbers (seeds), or texts (prompts)."""
    if isinstance(a, int) and isinstance(b, int):
        return Ends("seeds", a, b)
    if isinstance(a, str) and isinstance(b, str):
        return ends_of(a, b, shape) if Path(a).is_file() else Ends("prompts", check_prompt(a), check_prompt(b))
    if all(isinstance(one, Image.Image | Path | str) for one in (a, b)):
        return Ends("pictures", picture_from(a, shape), picture_from(b, shape))
    raise UserError("a path leads between two prompts, two seeds or two pictures, and these are of different kinds")


def picture_from(picture: Any, shape: tuple[int, int, int]) -> torch.Tensor:
    """A picture at the size of a model's pictures, (1, side, side, channels) uint8.

    picture: a PIL image, or the path of a file.
    """
    if not isinstance(picture, Image.Image):
        return read_picture(Path(picture), shape)
    channels, side, _ = shape
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return torch.from_numpy(np.array(fit(picture.convert(mode), side, channels))[None])


def read_picture(path: Path, shape: tuple[int, int, int]) -> torch.Tensor:
    """A picture file at the size of a model's pictures, (1, side, side, channels) uint8. UserError if it is none."""
    channels, side, _ = shape
    try:
        with Image.open(path) as image:
            image.load()
            mode = "RGBA" if image.has_transparency_data else "RGB"
            pixels = fit(image.convert(mode), side, channels)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a picture that can be read ({error})") from None
    return torch.from_numpy(np.array(pixels)[None])


def path_between(
    model: Any, ends: Ends, frames: int, seed: int = 0, prompt: str = "", settings: "Settings | None" = None
) -> Iterator[NDArray[np.uint8]]:
    """The pictures along a path, one after the other, both ends among them. Each is (H, W, C) uint8.

    frames: how many, at least 2.
    seed: of a path between prompts.
    prompt: of a path between seeds.
    UserError where the model has no such path.
    """
    if frames < 2:
        raise UserError(f"a path has 2 frames or more, got {frames}")
    fractions = [i / (frames - 1) for i in range(frames)]
    try:
        yield from _between(model, ends, fractions, seed, prompt, settings)
    except ValueError as error:
        raise UserError(str(error)) from None


def _between(
    model: Any, ends: Ends, fractions: list[float], seed: int, prompt: str, settings: Any
) -> Iterator[NDArray[np.uint8]]:
    if ends.kind == "pictures":
        if not isinstance(model, BetweenPictures):
            raise UserError("this kind of model gives pictures no place in a space; give two prompts or two seeds")
        a, b = model.invert(ends.a, settings), model.invert(ends.b, settings)
        for fraction in fractions:
            yield final(model.draw_point(model.blend_points(a, b, fraction), settings))[0]
        return
    if not isinstance(model, GenerativeModel):
        raise UserError("this kind of model draws nothing from prompts; give two pictures")
    if ends.kind == "seeds":
        for fraction in fractions:
            seeds: Any = [Between(ends.a, ends.b, fraction)]
            yield final(model.draw([prompt], seeds, settings))[0]
        return
    if not isinstance(model, BetweenPrompts):
        raise UserError("this kind of model has nothing between two prompts; give two seeds")
    model.check_prompts([ends.a, ends.b])
    first, last = (model.conditioning(one, seed, settings) for one in (ends.a, ends.b))
    for fraction in fractions:
        yield final(model.draw_conditioned(model.blend(first, last, fraction), [seed], settings))[0]


def variations(
    model: Any,
    pixels: torch.Tensor,
    seeds: list[int],
    strength: float,
    prompt: str = "",
    settings: "Settings | None" = None,
) -> Pixels:
    """Variations of a picture, (len(seeds), H, W, C) uint8. Arguments as of `models.exploration.Varies`."""
    _check_strength(strength)
    if not isinstance(model, Varies):
        raise UserError("this kind of model draws no variations of a picture")
    try:
        return final(model.vary(pixels, seeds, settings, strength=strength, prompt=prompt))
    except ValueError as error:
        raise UserError(str(error)) from None


def edited(
    model: Any,
    pixels: torch.Tensor,
    without: str,
    with_: str,
    seeds: list[int],
    strength: float,
    settings: "Settings | None" = None,
) -> Pixels:
    """A picture changed by the difference of two prompts. Arguments as of `models.exploration.Edits`."""
    _check_strength(strength)
    if not isinstance(model, Edits):
        raise UserError(
            "this kind of model has no directions of words; an unclip model has (unstir train --kind unclip)"
        )
    try:
        return final(model.edit(pixels, without, with_, seeds, settings, strength=strength))
    except ValueError as error:
        raise UserError(str(error)) from None


def _check_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise UserError(f"--strength must be 0 to 1, got {strength:g}")
