"""Spatial relations: the same prompts and seeds without and with the layout predictor, in alternating rows.

Run: python examples/layout.py OUT.png
"""

import sys
from pathlib import Path

import numpy as np

from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.generative import final
from unstir.weights.model_file import DEFAULT, load_model

PAIRS = (("a cat", "a banana"), ("a guitar", "an apple"), ("a rocket", "a fish"), ("an umbrella", "a hamburger"))
TEMPLATES = ("{} left of {}", "{} above {}")
STYLE = "fluent flat"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/layout.py OUT.png")
    loaded = load_model(DEFAULT)
    prompts = [f"{one.format(*pair[::turn])}, {STYLE}" for one in TEMPLATES for pair in PAIRS for turn in (1, -1)]
    seeds = range(len(prompts))
    predictor, rows = loaded.model.layout, []
    for layout in (None, predictor):
        loaded.model.layout = layout
        rows.append(final(loaded.model.draw(prompts, seeds, loaded.settings, exact=False)))
    shown = [picture for start in range(0, len(prompts), 8) for row in rows for picture in row[start : start + 8]]
    captions = [
        text.split(",")[0] for start in range(0, len(prompts), 8) for _ in rows for text in prompts[start : start + 8]
    ]
    save_png(Path(sys.argv[1]), np.asarray(sheet(shown, columns=8, captions=captions, scale=2, background="checker")))


if __name__ == "__main__":
    main()
