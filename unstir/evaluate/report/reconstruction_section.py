"""The section on the autoencoder of a model: how close encoded and decoded pictures are to the originals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.metrics.reconstruction import alpha_error, psnr, ssim
from unstir.evaluate.report.document import Row, Section, Table, row_of
from unstir.evaluate.run.features import ClipFeatures, pixel_features, scaled_features
from unstir.evaluate.run.progress import StartStage
from unstir.evaluate.run.real_pictures import RealPictures
from unstir.evaluate.statistics.bootstrap import bootstrap_interval
from unstir.evaluate.statistics.resampling import permutation
from unstir.models.pixels import on_white

Reconstruct = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""One picture (1, H, W, C) -> the picture encoded and decoded."""

COUNT = 200
"""Pictures that are encoded and decoded."""


def reconstruction_section(
    real_pictures: RealPictures, seed: int, reconstruct: Reconstruct, clip: ClipFeatures | None, stage: StartStage
) -> Section:
    """Peak signal-to-noise ratio, structural similarity, error of alpha, and Fréchet distance of reconstructions.

    Of held-out pictures where there are any. seed: of their choice. clip: for the Fréchet distance; None: in reduced
    pixels.
    """
    split = real_pictures.split
    held = len(split.held_out) > 0
    rows = split.held_out if held else split.seen
    rows = rows[permutation(len(rows), seed)][:COUNT]
    real = np.asarray(real_pictures.pictures.pixels[np.sort(rows)])
    made = []
    with stage("encoding and decoding pictures", len(real)) as advance:
        for done, one in enumerate(real, 1):
            made.append(reconstruct(one[None])[0])
            advance(done)
    decoded = np.stack(made)
    before, after = on_white(real), on_white(decoded)
    values = {
        "PSNR over white, dB": psnr(before, after),
        "structural similarity over white": np.array([ssim(a, b) for a, b in zip(before, after, strict=True)]),
    }
    if real.shape[-1] == 4:
        values["mean error of alpha"] = alpha_error(real, decoded)
    found = [
        row_of(name, bootstrap_interval(lambda x: float(x.mean()), [value], seed=seed))
        for name, value in values.items()
    ]
    if len(real) > 2:
        features = [
            pixel_features(x) if clip is None else scaled_features(clip.of_pictures(x)) for x in (real, decoded)
        ]
        where = "in reduced pixels" if clip is None else "in the CLIP's space"
        found.append(Row(name=f"Fréchet distance {where}", value=frechet_distance(*features).value))
    side = "held-out" if held else "training"
    note = (
        f"{len(real)} {side} pictures, encoded and decoded by the autoencoder: no picture drawn in its latents can be "
        "closer to real ones than these are."
    )
    return Section([Table(title="Reconstruction", rows=found, note=note)])
