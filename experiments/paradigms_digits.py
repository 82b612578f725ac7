"""Do all kinds of model draw the digits that they are asked for, and all the ways in which digits are written?

Accuracy: a support vector machine, trained on the real training digits, reads the drawn ones. Recall and coverage: of
the real training digits by 500 drawn ones, in pixels. Real held-out digits beside.
Run: python -m experiments.paradigms_digits RUN [RUN …] [--priors]
Reached: see docs/paradigms.md and docs/log.md (2026-11-21).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unstir.data.digits import NAMES, digit_pictures
from unstir.evaluate.metrics.precision_recall import precision_recall
from unstir.models.generative import final
from unstir.settings import PRIOR_NAMES
from unstir.weights.model_file import Loaded, load_model, notes_of

EACH = 50
"""Pictures of each digit, seeds 0 …"""


def flat(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One number for each pixel, in [0, 1]."""
    values: NDArray[np.float32] = pixels[..., :3].mean(-1).reshape(len(pixels), -1).astype(np.float32) / 255
    return values


def drawn(loaded: Loaded[Any], settings: Any) -> NDArray[np.uint8]:
    """EACH pictures of every digit, in the order of the digits."""
    rows = []
    for number, name in enumerate(NAMES):
        seeds = range(number * EACH, (number + 1) * EACH)
        rows.append(final(loaded.model.draw([f"a handwritten {name}"] * EACH, seeds, settings, exact=False)))
    return np.concatenate(rows)


def main() -> None:
    from sklearn.svm import SVC

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--priors", action="store_true", help="every prior of an unclip model")
    arguments = parser.parse_args()
    train, test = digit_pictures(part="train"), digit_pictures(part="test")
    reader = SVC(C=10, gamma="scale").fit(flat(train.pixels), [meta["digit"] for meta in train.meta])
    wanted = np.repeat(np.arange(len(NAMES)), EACH)

    def report(name: str, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        spread = precision_recall(flat(train.pixels), flat(pixels), k=5)
        right = float((reader.predict(flat(pixels)) == labels).mean())
        print(
            f"{name:28} read as asked {right:6.1%}  precision {spread.precision:.2f}  recall {spread.recall:.2f}  "
            f"density {spread.density:.2f}  coverage {spread.coverage:.2f}  ({len(pixels)} pictures)",
            flush=True,
        )

    report("real, held out", test.pixels, np.array([meta["digit"] for meta in test.meta]))
    for run in arguments.runs:
        loaded = load_model(run)
        choices: list[dict[str, Any]] = [{}]
        if arguments.priors and "prior" in loaded.settings.table():
            choices = [{"prior": name} for name in PRIOR_NAMES]
        for choice in choices:
            title = " ".join([loaded.kind.name, *choice.values()])
            report(title, drawn(loaded, loaded.settings.changed(choice)), wanted)
        notes = notes_of(loaded.path)
        facts = {key: notes[key] for key in ("images_seen", "seconds", "stages") if key in notes}
        print(" ", json.dumps(facts), sum(p.numel() for p in loaded.model.parameters()), "parameters")


if __name__ == "__main__":
    main()
