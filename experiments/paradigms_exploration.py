"""Do variations of a picture keep what it shows, and are paths between two pictures smooth? On held-out digits.

Variations: one of each of 100 held-out digits, with the default strength of `unstir vary`, no prompt; a support vector
machine, trained on the real training digits, reads them. Paths: of 40 pairs of held-out digits, 9 pictures each; the
steps are distances of CLIP embeddings, unit vectors, between neighbours, the largest one relative to their mean.
Run: python -m experiments.paradigms_exploration CLIP RUN [RUN …] [--sheets FOLDER]
Reached: see docs/paradigms.md and docs/log.md (2026-11-21).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.paradigms_digits import flat
from unstir.data.digits import digit_pictures
from unstir.exploration import Ends, path_between, variations
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.clip import Clip
from unstir.models.exploration import BetweenPictures, Varies
from unstir.models.pixels import to_model
from unstir.settings import VARIATION_STRENGTH
from unstir.weights.model_file import load_clip, load_model

VARIED, PAIRS, FRAMES, SHOWN = 100, 40, 9, 6


def largest_step(clip: Clip, frames: NDArray[np.uint8]) -> float:
    """The largest distance of neighbours on a path in the CLIP's space, relative to the mean one."""
    with torch.no_grad():
        vectors = clip.embed_pictures(to_model(torch.from_numpy(frames)))
    steps = (vectors[1:] - vectors[:-1]).norm(dim=1)
    return float(steps.max() / steps.mean())


def main() -> None:
    from sklearn.svm import SVC

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="a CLIP that was not part of any of the runs")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    clip = load_clip(arguments.clip)
    train, test = digit_pictures(part="train"), digit_pictures(part="test")
    reader = SVC(C=10, gamma="scale").fit(flat(train.pixels), [meta["digit"] for meta in train.meta])
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(test))
    pictures: NDArray[np.uint8] = np.ascontiguousarray(test.pixels[rows])
    labels = np.array([test.meta[row]["digit"] for row in rows])
    real = reader.predict(flat(pictures[:VARIED])) == labels[:VARIED]
    print(f"real: {real.mean():.0%} of {VARIED} held-out digits read right")
    for run in arguments.runs:
        loaded: Any = load_model(run)
        name, model = loaded.kind.name, loaded.model
        if isinstance(model, Varies):
            strength = VARIATION_STRENGTH
            varied = [
                variations(model, torch.from_numpy(picture[None]), [seed], strength, settings=loaded.settings)[0]
                for seed, picture in enumerate(pictures[:VARIED])
            ]
            kept = reader.predict(flat(np.stack(varied))) == labels[:VARIED]
            change = np.abs(flat(np.stack(varied)) - flat(pictures[:VARIED])).mean()
            print(f"{name}: variations (strength {strength:g}) keep the digit: {kept.mean():.0%}, change {change:.3f}")
            if arguments.sheets:
                shown = []
                for row in range(SHOWN):
                    one = torch.from_numpy(pictures[row : row + 1])
                    shown += [pictures[row], *variations(model, one, [*range(7)], strength, settings=loaded.settings)]
                save_png(arguments.sheets / f"{name}_variations.png", sheet(shown, columns=8, scale=6))
        if isinstance(model, BetweenPictures):
            ratios, shown = [], []
            for pair in range(PAIRS):
                a, b = (torch.from_numpy(pictures[i : i + 1]) for i in (2 * pair, 2 * pair + 1))
                frames = np.stack(list(path_between(model, Ends("pictures", a, b), FRAMES, settings=loaded.settings)))
                ratios.append(largest_step(clip, frames))
                shown += list(frames) if pair < SHOWN else []
            found = np.array(ratios)
            print(
                f"{name}: largest step of {PAIRS} paths, relative to the mean one: median {np.median(found):.2f}, "
                f"largest {found.max():.2f}, at most 2 in {(found <= 2).mean():.0%}",
                flush=True,
            )
            if arguments.sheets:
                save_png(arguments.sheets / f"{name}_paths.png", sheet(shown, columns=FRAMES, scale=6))


if __name__ == "__main__":
    main()
