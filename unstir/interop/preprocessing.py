"""How a published model wants its pictures: resized and cut to a square in the way that it was trained with."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

LONGEST = 8
"""Of a picture this many times longer than wide, only the middle is resized: a thin strip would become gigabytes."""


@dataclass(frozen=True)
class Preprocessing:
    """size: side of the square in pixels.  filter: number of the resizing filter in Pillow; 3 is bicubic.

    shorter: what the shorter side is brought to before the middle is cut out, at least `size`; 0: the whole picture is
    squashed into the square.
    """

    size: int
    shorter: int = 0
    filter: int = 3

    def __post_init__(self) -> None:
        if self.shorter and self.shorter < self.size:
            raise ValueError(f"a square of {self.size} pixels cannot be cut out of {self.shorter}")
        if self.filter not in list(Image.Resampling):
            raise ValueError(f"there is no resizing filter {self.filter}")


def preprocess(image: Image.Image, how: Preprocessing) -> npt.NDArray[np.uint8]:
    """image: mode "RGB" or "RGBA"; what is transparent lies on white. Returns (size, size, 3) uint8.

    To the pixel what `transformers` makes of opaque pictures.
    """
    image = _on_white(image)
    size, method = how.size, Image.Resampling(how.filter)
    if not how.shorter:
        return np.asarray(image.resize((size, size), method))
    image = _middle(image, LONGEST * min(image.size), LONGEST * min(image.size))
    short = min(image.size)
    width, height = (int(how.shorter * side / short) for side in image.size)
    return np.asarray(_middle(image.resize((width, height), method), size, size))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture, at most (width, height)."""
    left, top = max(0, (image.width - width) // 2), max(0, (image.height - height) // 2)
    return image.crop((left, top, min(image.width, left + width), min(image.height, top + height)))
