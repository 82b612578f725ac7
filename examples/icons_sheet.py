"""The sheet of the README: 24 concepts in six styles of the default model, unselected.

The seed of a picture is its column. The concepts were chosen before the model was trained (unstir/recipes/icons.py).

    python examples/icons_sheet.py docs/icons.png [MODEL]
"""

import sys
from pathlib import Path

from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.generative import final
from unstir.recipes.icons import CONCEPTS
from unstir.weights.model_file import DEFAULT, load_model

STYLES = ("fluent 3d", "fluent flat", "noto", "twemoji", "phosphor duotone icon", "lucide line icon")


def main(out: Path, model: Path = DEFAULT) -> None:
    loaded = load_model(model)
    pictures, captions = [], []
    for style in STYLES:
        prompts = [f"{concept}, {style}" for concept in CONCEPTS]
        pictures.extend(final(loaded.model.draw(prompts, range(len(prompts)), loaded.settings)))
        captions += prompts
    scale = max(1, 96 // loaded.model.shape[-1])
    save_png(out, sheet(pictures, columns=12, captions=captions, scale=scale, background="checker"))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/icons_sheet.py OUT.png [MODEL]")
    main(*map(Path, sys.argv[1:]))
