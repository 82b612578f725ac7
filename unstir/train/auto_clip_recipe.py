"""From data, machine and budget to a CLIP recipe: what someone should train who wants their own pictures found."""

from dataclasses import dataclass

from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.nn.vision import VisionConfig
from unstir.train.auto_recipe import batch_size, validation_settings
from unstir.train.config import TrainConfig
from unstir.train.recipe import ClipRecipe


@dataclass(frozen=True)
class ClipSize:
    """width, depth: of the encoder of pictures.  text_width, text_depth: of words.  space: width of what they share."""

    width: int
    depth: int
    text_width: int
    text_depth: int
    space: int


CLIP_SIZES = {"s": ClipSize(128, 4, 128, 2, 128), "m": ClipSize(256, 6, 256, 3, 256)}
"""About 1.3 and 8 million parameters."""


def choose_clip_size(size: str | None, budget: float, on_gpu: bool) -> str:
    """The size letter: the one asked for, or one that the budget (seconds) can train. UserError where there is none."""
    if size is None:
        return "m" if on_gpu or budget >= 7200 else "s"
    if size not in CLIP_SIZES:
        raise UserError(f"a CLIP has the sizes {' and '.join(CLIP_SIZES)}, not {size}")
    return size


def clip_recipe_for(pictures: Pictures, letter: str) -> ClipRecipe:
    """A recipe for these pictures; its number of images is still to be measured.

    Patches of 8 pixels up to a side of 64, of 16 above. Large batches: every other picture of a batch is what a caption
    is told apart from.
    """
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    size = CLIP_SIZES[letter]
    return ClipRecipe(
        vision=VisionConfig(
            side,
            channels,
            patch=8 if side <= 64 else 16,
            width=size.width,
            depth=size.depth,
            heads=size.width // 32,
            mlp=4 * size.width,
        ),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(256, pictures),
            caption_dropout=0.0,
            **validation_settings(pictures, "most named"),
        ),
        width=size.space,
        text_width=size.text_width,
        text_depth=size.text_depth,
        augment=True,
    )
