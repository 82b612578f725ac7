"""Spatial relations: the same prompts and seeds with and without the layout predictor of the default model.

Rows in turn: without, with.

    python examples/spatial_relations.py OUT.png
"""

import sys
from pathlib import Path

from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.generative import final
from unstir.weights.model_file import DEFAULT, load_model

PAIRS = (("a cat", "a banana"), ("a guitar", "an apple"), ("a rocket", "a fish"), ("an umbrella", "a hamburger"))
RELATIONS = ("{} left of {}", "{} above {}")
STYLE = "fluent flat"
COLUMNS = 8


def main(out: Path, path: Path = DEFAULT) -> None:
    loaded = load_model(path)
    model = loaded.model
    prompts = [
        f"{relation.format(*pair[::direction])}, {STYLE}"
        for relation in RELATIONS
        for pair in PAIRS
        for direction in (1, -1)
    ]
    predictor, drawn = model.layout, []
    for layout in (None, predictor):
        model.layout = layout
        drawn.append(final(model.draw(prompts, range(len(prompts)), loaded.settings, exact=False)))
    pictures, captions = [], []
    for start in range(0, len(prompts), COLUMNS):
        for row in drawn:
            pictures += list(row[start : start + COLUMNS])
            captions += [prompt.split(",")[0] for prompt in prompts[start : start + COLUMNS]]
    save_png(out, sheet(pictures, columns=COLUMNS, captions=captions, scale=2, background="checker"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/spatial_relations.py OUT.png")
    main(Path(sys.argv[1]))
