"""How well do autoencoders of icons decode held-out drawings, and photographs, which they have never seen?

PSNR and structural similarity over white, and the mean error of alpha, of every fifth held-out drawing of the recipe
icons at 64 pixels, in float32. Photographs: those that come with scikit-image, their middle square at 256 pixels.
Run: python -m experiments.icons_autoencoder SHARDS RUN [RUN …] [--sheet PATH]
Reached: see docs/paradigms.md and docs/log.md (2026-11-21).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unstir.data.built_in import open_data
from unstir.data.entry import Source
from unstir.data.packing import pack
from unstir.evaluate.metrics.reconstruction import alpha_error, psnr, ssim
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.autoencoder import Autoencoder, reconstructions
from unstir.models.pixels import on_white
from unstir.recipes.icons_data import split_cells
from unstir.weights.model_file import load_kind, notes_of

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
EVERY, SIDE = 5, 256


def held_out(shards: str, side: int) -> NDArray[np.uint8]:
    """Every fifth held-out drawing, (N, side, side, 4)."""
    found = open_data(shards, size=side)
    assert isinstance(found, Source)
    rows = split_cells([entry.meta for entry in found.entries])[1][::EVERY]
    chosen = Source(found.name, found.layout, [found.entries[row] for row in rows], [])
    with tempfile.TemporaryDirectory() as folder:
        return np.array(pack(chosen, side, 4, where=Path(folder))[0].pixels)


def photographs() -> NDArray[np.uint8]:
    """The photographs as opaque pictures, (N, SIDE, SIDE, 4)."""
    from skimage import data

    found = []
    for name in PHOTOGRAPHS:
        image = Image.fromarray(getattr(data, name)())
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        found.append(np.array(square.convert("RGBA")))
    return np.stack(found)


def measured_row(name: str, model: Autoencoder, real: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Print a line on a set of pictures; returns them decoded."""
    made = np.concatenate(list(reconstructions(model, torch.from_numpy(real))))
    before, after = on_white(real), on_white(made)
    similar = np.array([ssim(a, b) for a, b in zip(before, after, strict=True)])
    ratio = psnr(before, after)
    print(
        f"  {name:12} PSNR {ratio.mean():.2f} dB (median {np.median(ratio):.2f}), structural similarity "
        f"{similar.mean():.4f}, mean error of alpha {alpha_error(real, made).mean():.4f} ({len(real)} pictures)",
        flush=True,
    )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--sheet", type=Path, help="originals and decoded pictures of the last run")
    arguments = parser.parse_args()
    photos = photographs()
    drawings: NDArray[np.uint8] | None = None
    for run in arguments.runs:
        model: Autoencoder = load_kind(run, "autoencoder")
        if drawings is None:
            drawings = held_out(arguments.shards, model.shape[1])
        seen = notes_of(run).get("images_seen")
        print(f"{run.name}: {sum(p.numel() for p in model.parameters()):,} parameters, {seen:,} pictures seen")
        made = measured_row("drawings", model, drawings)
        for name, photo in zip(PHOTOGRAPHS, photos, strict=True):
            measured_row(name, model, photo[None])
        decoded = measured_row("photographs", model, photos)
        if arguments.sheet:
            rows = range(0, len(drawings), len(drawings) // 24)[:24]
            pairs = [one for row in rows for one in (drawings[row], made[row])]
            save_png(arguments.sheet, sheet(pairs, columns=12, scale=2, background="checker"))
            both = [one for pair in zip(photos, decoded, strict=True) for one in pair]
            save_png(arguments.sheet.with_stem(arguments.sheet.stem + "_photographs"), sheet(both, columns=4))


if __name__ == "__main__":
    main()
