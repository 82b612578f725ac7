"""What is measured of a set of pictures, and of a trained model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.compare.data import ComparedData
from unstir.compare.evaluators import Evaluator, read_as_asked
from unstir.data.shapes_check import check_caption
from unstir.evaluate.metrics.frechet_infinity import frechet_infinity
from unstir.evaluate.metrics.kernel_distance import kernel_distance
from unstir.evaluate.metrics.likelihood import bits_per_dim_of
from unstir.evaluate.metrics.memorisation import memorisation
from unstir.evaluate.metrics.precision_recall import precision_recall
from unstir.evaluate.metrics.reconstruction import psnr, ssim
from unstir.evaluate.run.features import pixel_features
from unstir.evaluate.statistics.arrays import Embeddings
from unstir.evaluate.statistics.resampling import permutation
from unstir.models.generative import LikelihoodModel, final
from unstir.models.pixels import on_white
from unstir.settings import Settings
from unstir.weights.model_file import Loaded, load_model

REFERENCE = 2_000
"""Training pictures that sets are compared with, at most."""

LIKELIHOOD_PICTURES = 64

STEPS = (2, 4, 8, 16, 32, 64)
"""Numbers of steps of the curve of quality against time, for models that have steps."""

CURVE_PICTURES = 128

LARGE_BATCH = 64


@dataclass(frozen=True)
class Reference:
    """What sets of pictures are compared with: training pictures, and their features by the name of the evaluator.

    unseen: held-out pictures, for memorisation.
    """

    pixels: NDArray[np.uint8]
    features: dict[str, Embeddings]
    unseen: NDArray[np.uint8]
    groups: list[int]


def reference_of(data: ComparedData, evaluators: Sequence[Evaluator], seed: int) -> Reference:
    """The reference of a comparison."""
    rows = np.sort(permutation(len(data.pictures), seed, 1)[:REFERENCE])
    pixels = np.array(data.pictures.pixels[rows])
    unseen = np.array(data.held_out.pixels[:REFERENCE])
    groups = data.pictures.content_ids[rows].tolist()
    return Reference(pixels, {evaluator.name: evaluator.features(pixels) for evaluator in evaluators}, unseen, groups)


def of_pictures(
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    evaluators: Sequence[Evaluator],
    reference: Reference,
    data: ComparedData,
) -> dict[str, Any]:
    """Measures of a set of pictures with their captions, JSON values: of each evaluator, memorisation, composition."""
    found: dict[str, Any] = {"pictures": len(pixels), "evaluators": {}}
    for evaluator in evaluators:
        real, made = reference.features[evaluator.name], evaluator.features(pixels)
        far, near, kernel = frechet_infinity(real, made), precision_recall(real, made), kernel_distance(real, made)
        found["evaluators"][evaluator.name] = {
            "FD": far.at_all,
            "FD at infinity": far.value,
            "FD error": far.error,
            "KID": kernel.value,
            "precision": near.precision,
            "recall": near.recall,
            "density": near.density,
            "coverage": near.coverage,
            "read as asked": read_as_asked(evaluator, pixels, captions),
        }
    copies = memorisation(
        pixel_features(pixels), pixel_features(reference.unseen), pixel_features(reference.pixels), reference.groups
    )
    nearer = copies.closer()
    found["copies"] = copies.copied().value
    found["copies, real"] = None if copies.false_positives is None else copies.false_positives.value
    found["nearer than 99 % of real ones"] = None if nearer is None else nearer.value
    if data.name == "shapes":
        right = [check_caption(picture, caption).right for picture, caption in zip(pixels, captions, strict=True)]
        found["exactly as asked"] = float(np.mean(right))
    return found


def of_reconstructions(real: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> dict[str, float]:
    """How close an autoencoder's pictures are to their originals, over white."""
    before, after = on_white(real), on_white(decoded)
    similar = [ssim(a, b) for a, b in zip(before, after, strict=True)]
    return {"PSNR": float(psnr(before, after).mean()), "SSIM": float(np.mean(similar))}


def settings_with_steps(settings: Settings, steps: int) -> Settings | None:
    """The settings with another number of steps, in every field that has them; None where there are none."""
    if "steps" not in settings.table():
        return None
    changes: dict[str, Any] = {"steps": steps}
    if "enlarging_steps" in settings.table():
        changes["enlarging_steps"] = max(1, steps // 2)
    return settings.changed(changes)


def draw_in_batches(
    loaded: Loaded[Any], captions: Sequence[str], seeds: Sequence[int], settings: Settings, done: Callable[[int], None]
) -> NDArray[np.uint8]:
    """Pictures in batches of LARGE_BATCH. done: called with how many there are."""
    parts = []
    for start in range(0, len(captions), LARGE_BATCH):
        some = slice(start, start + LARGE_BATCH)
        parts.append(final(loaded.model.draw(captions[some], seeds[some], settings, exact=False)))
        done(min(start + LARGE_BATCH, len(captions)))
    return np.concatenate(parts)


def speed(loaded: Loaded[Any], caption: str) -> dict[str, float]:
    """Seconds a picture, one alone (median of 3) and in a batch of LARGE_BATCH (once after a warm-up)."""

    def seconds(count: int) -> float:
        began = time.perf_counter()
        final(loaded.model.draw([caption] * count, range(count), loaded.settings, exact=False))
        return (time.perf_counter() - began) / count

    seconds(1)
    alone = median(seconds(1) for _ in range(3))
    return {"alone": alone, "in a batch": seconds(LARGE_BATCH)}


def curve(
    loaded: Loaded[Any],
    captions: Sequence[str],
    evaluator: Evaluator,
    reference: Reference,
    done: Callable[[float], None],
) -> list[dict[str, float]]:
    """Quality against time: the distance of CURVE_PICTURES pictures for several numbers of steps; [] without steps."""
    found: list[dict[str, float]] = []
    for number, steps in enumerate(STEPS):
        settings = settings_with_steps(loaded.settings, steps)
        if settings is None:
            return []
        texts = list(captions[:CURVE_PICTURES])
        began = time.perf_counter()
        pixels = draw_in_batches(loaded, texts, range(len(texts)), settings, lambda _done: None)
        taken = (time.perf_counter() - began) / len(texts)
        far = frechet_infinity(reference.features[evaluator.name], evaluator.features(pixels))
        found.append({"steps": steps, "seconds": taken, "FD at infinity": far.value, "FD": far.at_all})
        done((number + 1) / len(STEPS))
    return found


def likelihood(loaded: Loaded[Any], data: ComparedData, done: Callable[[float], None]) -> dict[str, Any] | None:
    """Bits per stored value of held-out pictures, mean and standard error; None where the model has no likelihood."""
    model = loaded.model
    if not isinstance(model, LikelihoodModel):
        return None
    exact = load_model(loaded.path, str(next(loaded.model.parameters()).device), torch.float32).model
    rows = permutation(len(data.held_out), 0)[:LIKELIHOOD_PICTURES]
    bits = bits_per_dim_of(exact)(data.held_out.take(rows), [*range(len(rows))], done)
    return {"bits": float(bits.mean()), "error": float(bits.std() / np.sqrt(len(bits))), "pictures": len(bits)}


def facts(loaded: Loaded[Any]) -> dict[str, Any]:
    """Parameters, and bytes of the file."""
    return {
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "bytes": loaded.path.stat().st_size,
        "settings": asdict(loaded.settings),
    }
