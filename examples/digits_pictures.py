"""A model of handwritten digits: a contact sheet of 160 digits, and the sampling trace of sixteen.

Writes OUT/digits.png and OUT/digits-trace.png.

    python examples/digits_pictures.py runs/digits docs
"""

import sys
from pathlib import Path

from unstir.data.digits import NAMES
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.generative import final
from unstir.weights.model_file import load_model

SHOWN_STEPS = (0, 4, 8, 12, 15, 18, 20, 22)


def main(run: Path, out: Path) -> None:
    loaded = load_model(run)
    prompts = [f"a handwritten {name}" for name in NAMES for _ in range(16)]
    pictures = list(final(loaded.model.draw(prompts, range(len(prompts)), loaded.settings)))
    save_png(out / "digits.png", sheet(pictures, columns=16, rows=list(NAMES), scale=4, gap=3))

    sixteen = [f"a handwritten {NAMES[i % 10]}" for i in range(16)]
    settings = loaded.settings.changed({"steps": 24})
    frames = list(loaded.model.draw(sixteen, range(100, 116), settings))
    shown = [frames[i] for i in SHOWN_STEPS]
    pictures = [picture for frame in shown for picture in frame.state] + list(frames[-1].picture)
    labels = [f"t = {frame.t:.2f}" for frame in shown] + ["t = 0"]
    save_png(out / "digits-trace.png", sheet(pictures, columns=16, rows=labels, scale=4, gap=3))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/digits_pictures.py RUN OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
