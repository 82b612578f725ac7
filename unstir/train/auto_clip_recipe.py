"""The automatic recipe of a CLIP, chosen from the data, the machine and the budget."""

from dataclasses import dataclass

from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.clip import ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig
from unstir.train.auto_recipe import LENGTH, VOCABULARY, batch_size, validation_settings
from unstir.train.config import TrainConfig
from unstir.train.kinds import SizeName
from unstir.train.recipe import Recipe


@dataclass(frozen=True)
class ClipSize:
    """One size of CLIP.

    width, depth: of the picture encoder.
    text_width, text_depth: of the text encoder.
    space: width of the shared space.
    """

    width: int
    depth: int
    text_width: int
    text_depth: int
    space: int


CLIP_SIZES: dict[SizeName, ClipSize] = {"s": ClipSize(128, 4, 128, 2, 128), "m": ClipSize(256, 6, 256, 3, 256)}
"""About 1.3 and 8 million parameters."""


def choose_clip_size(size: SizeName | None, budget: float, on_gpu: bool) -> SizeName:
    """The size of the CLIP.

    size: the one asked for, or None.
    budget: seconds; it decides where no size is asked for.
    UserError for a size that a CLIP does not have.
    """
    if size is None:
        return "m" if on_gpu or budget >= 7200 else "s"
    if size not in CLIP_SIZES:
        raise UserError(f"a CLIP has the sizes {' and '.join(CLIP_SIZES)}, not {size}")
    return size


def clip_text(width: int, depth: int, vocabulary: int = VOCABULARY, length: int = LENGTH) -> ClipTextConfig:
    """A text encoder with heads of 32 channels and an MLP of four times its width.

    vocabulary, length: as in `Recipe.model`.
    """
    return ClipTextConfig(
        vocabulary=vocabulary, length=length, width=width, depth=depth, heads=max(1, width // 32), mlp=4 * width
    )


def clip_recipe_for(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a CLIP, without its number of pictures.

    Patches have 8 pixels up to a side of 64, and 16 above. Batches are large, because the other pictures of a batch are
    the negatives of a caption.
    """
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    chosen = CLIP_SIZES[size]
    vision = VisionConfig(
        side,
        channels,
        patch=8 if side <= 64 else 16,
        width=chosen.width,
        depth=chosen.depth,
        heads=chosen.width // 32,
        mlp=4 * chosen.width,
    )
    text = clip_text(chosen.text_width, chosen.text_depth)
    return Recipe(
        model=ClipConfig(vision, text, chosen.space, augment=True),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(256, pictures),
            caption_dropout=0.0,
            **validation_settings(pictures, "most image-to-text R@1"),
        ),
    )
