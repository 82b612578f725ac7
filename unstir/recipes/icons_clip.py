"""The CLIP that comes with unstir, trained on icons. For one GPU.

DATA: the shards of the recipe icons; the same drawings are held out.
"""

from unstir.data.entry import Entry
from unstir.models.clip import ClipConfig
from unstir.nn.vision import VisionConfig
from unstir.recipes.icons import trained_on
from unstir.recipes.icons_captions import icon_captions
from unstir.train.auto_clip_recipe import clip_text
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe


def _captions(entry: Entry) -> tuple[str, ...]:
    """The captions of the diffusion model, and more: without a style, with the style first, and of synonyms."""
    ways = list(icon_captions(entry.caption, entry.meta))
    name, phrase, tags = entry.meta.get("name"), entry.meta.get("phrase"), entry.meta.get("tags")
    if isinstance(name, str) and isinstance(phrase, str):
        ways += [name, f"{phrase}, {name}"]
        synonyms = [tag for tag in tags if tag != name] if isinstance(tags, list) else []
        ways += [f"{tag}, {phrase}" for tag in synonyms[:3]]
    return tuple(dict.fromkeys(ways))[:14]


def icons_clip() -> Recipe:
    """9.3 M parameters; 3.07 M pairs in 134 seconds on a shared H200.

    Reached: text-to-image R@5 82 % and R@1 51 % among 1,040 held-out drawings (2026-11-20, unstir/weights/icons.md).
    """
    return Recipe(
        model=ClipConfig(
            VisionConfig(64, 4, patch=8, width=256, depth=7, heads=4, mlp=1024),
            clip_text(width=256, depth=3, vocabulary=4096, length=40),
            width=512,
            augment=True,
        ),
        train=TrainConfig(
            images=3_072_000,
            batch_size=2048,
            optimiser="adamw",
            weight_decay=0.05,
            warmup=204_800,
            cooldown=0.5,
            compile=True,
            log_every=204_800,
            sample_every=819_200,
            save_every=819_200,
        ),
        keep=trained_on,
        captioner=_captions,
    )
