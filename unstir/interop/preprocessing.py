"""The preprocessing of published models: pictures resized and cropped to a square as in their training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_ASPECT = 8
"""Of a picture more elongated than this only the middle is resized: a thin strip would become gigabytes."""

MAX_ENLARGEMENT = 8
"""How many times longer than the square the shorter side may become. Published models have less than 1.2."""


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are brought to a square.

    size: side of the square in pixels.
    shorter: length to which the shorter side is resized before the square is cropped from the middle, at least `size`;
        0 resizes the whole picture to the square instead, whatever its shape.
    filter: number of the resizing filter in Pillow; 3 is bicubic.
    Raises ValueError if `shorter` is below `size` or far above it, or if Pillow has no such filter.
    """

    size: int
    shorter: int = 0
    filter: int = 3

    def __post_init__(self) -> None:
        if self.shorter and self.shorter < self.size:
            raise ValueError(f"a square of {self.size} pixels cannot be cropped from {self.shorter}")
        if self.shorter > MAX_ENLARGEMENT * self.size:
            raise ValueError(f"a shorter side of {self.shorter} pixels is too large for a square of {self.size}")
        if self.filter not in list(Image.Resampling):
            raise ValueError(f"Pillow has no resizing filter {self.filter}")


def preprocess(image: Image.Image, settings: Preprocessing) -> npt.NDArray[np.uint8]:
    """Bring a picture to a square; opaque pictures exactly as `transformers` does.

    image: mode "RGB" or "RGBA"; transparent pictures are laid over white.
    Returns (size, size, 3) uint8.
    """
    image = _on_white(image)
    size, method = settings.size, Image.Resampling(settings.filter)
    if not settings.shorter:
        return np.asarray(image.resize((size, size), method))
    image = _middle(image, MAX_ASPECT * min(image.size), MAX_ASPECT * min(image.size))
    short = min(image.size)
    width, height = (int(settings.shorter * side / short) for side in image.size)
    return np.asarray(_middle(image.resize((width, height), method), size, size))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture, at most width × height."""
    left, top = max(0, (image.width - width) // 2), max(0, (image.height - height) // 2)
    return image.crop((left, top, min(image.width, left + width), min(image.height, top + height)))
