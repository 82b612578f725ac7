"""Measuring everything that is compared: every run, and the anchors. What is measured is kept in files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.compare import measures
from unstir.compare.anchors import ProbabilisticPca, copied, independent_bits
from unstir.compare.data import ComparedData, Comparison
from unstir.compare.evaluators import Evaluator
from unstir.compare.training import cost_of, training_curve, training_notes
from unstir.files import write_atomic
from unstir.models.autoencoder import Autoencoder, reconstructions
from unstir.request import fingerprint
from unstir.train.run_setup import Reporter
from unstir.weights.model_file import find_model, load_model

FIRST_ANCHOR = "real, held out"

MEASURED_WITH = 1
"""The version of what is measured: older results are measured again."""

FIRST_PICTURES = 16
"""Pictures of a run that are kept for the sheet."""


@dataclass(frozen=True, eq=False)
class Results:
    """captions: the prompts.  kinds: the measures of each seed, by kind.  anchors: measures by name.

    shown: the first pictures of these prompts, with a title for each set.
    """

    captions: list[str]
    kinds: dict[str, list[dict[str, Any]]]
    anchors: dict[str, dict[str, Any]]
    shown: list[tuple[str, NDArray[np.uint8]]]


def measure_all(
    wanted: Comparison,
    data: ComparedData,
    evaluators: list[Evaluator],
    runs: Sequence[tuple[str, int, Path]],
    reporter: Reporter,
) -> Results:
    """Measure every run and anchor that is not measured yet.

    runs: the kind, the seed and the folder of each.
    """
    rows = data.prompts(wanted.n, wanted.seed)
    captions = [data.pictures.captions[row][0] for row in rows]
    with reporter.stage("features of the training pictures", 1) as done:
        reference = measures.reference_of(data, evaluators, wanted.seed)
        done(1)
    identity = [MEASURED_WITH, wanted.n, wanted.seed, *(evaluator.identity for evaluator in evaluators)]
    kinds: dict[str, list[dict[str, Any]]] = {}
    shown: list[tuple[str, NDArray[np.uint8]]] = []
    for kind, seed, run in runs:
        path = find_model(run)
        key = [*identity, fingerprint(path)]
        file = wanted.folder / "results" / f"{run.name}.json"
        found, first = _kept(file, key)
        if found is None or first is None:
            found, first = _measure_run(run, wanted.device, data, captions, evaluators, reference, reporter)
            found |= {"kind": kind, "seed": seed}
            _keep(file, key, found, first)
        kinds.setdefault(kind, []).append(found)
        if seed == wanted.seed:
            shown.append((kind, first))
    anchors, anchor_pictures = _anchors(wanted, data, captions, evaluators, reference, runs, reporter)
    return Results(captions, kinds, anchors, [*anchor_pictures, *shown])


def _kept(file: Path, key: list[Any]) -> tuple[dict[str, Any] | None, NDArray[np.uint8] | None]:
    """What was measured before, and the first pictures, if it was measured in the same way."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["key"] != key:
            return None, None
        return values["found"], np.load(file.with_suffix(".npy"), allow_pickle=False)
    except (OSError, ValueError, KeyError):
        return None, None


def _keep(file: Path, key: list[Any], found: Mapping[str, Any], first: NDArray[np.uint8]) -> None:
    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.save(stream, first)

    write_atomic(file.with_suffix(".npy"), save, size=first.nbytes)
    write_atomic(file, json.dumps({"key": key, "found": found}, indent=1))


def _measure_run(
    run: Path,
    device: str,
    data: ComparedData,
    captions: list[str],
    evaluators: list[Evaluator],
    reference: measures.Reference,
    reporter: Reporter,
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    loaded = load_model(run, device)
    with reporter.stage(f"drawing {len(captions)} pictures of {run.name}", len(captions)) as done:
        pixels = measures.draw_in_batches(loaded, captions, range(len(captions)), loaded.settings, done)
    found = measures.facts(loaded) | measures.of_pictures(pixels, captions, evaluators, reference, data)
    found["speed"] = measures.speed(loaded, captions[0])
    with reporter.stage(f"quality against time of {run.name}", 1) as done:
        found["curve"] = measures.curve(loaded, captions, evaluators[0], reference, done)
    with reporter.stage(f"likelihood of {run.name}", measures.LIKELIHOOD_PICTURES) as done:
        found["likelihood"] = measures.likelihood(loaded, data, done)
    cost = cost_of(run)
    found["training"] = training_notes(run) | {
        "curve": training_curve(run),
        "command seconds": None if cost is None else cost.seconds,
        "memory": None if cost is None else cost.memory,
    }
    return found, pixels[:FIRST_PICTURES]


def _anchors(
    wanted: Comparison,
    data: ComparedData,
    captions: list[str],
    evaluators: list[Evaluator],
    reference: measures.Reference,
    runs: Sequence[tuple[str, int, Path]],
    reporter: Reporter,
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, NDArray[np.uint8]]]]:
    """The measures of the anchors, and their first pictures where these belong to the prompts."""
    held = np.array(data.held_out.pixels[: wanted.n])
    held_captions = [ways[0] for ways in data.held_out.captions[: wanted.n]]
    found: dict[str, dict[str, Any]] = {}
    with reporter.stage("anchors", 4) as done:
        found[FIRST_ANCHOR] = measures.of_pictures(held, held_captions, evaluators, reference, data)
        done(1)
        copies = copied(data.pictures, captions, wanted.seed)
        found["training pictures, copied"] = measures.of_pictures(copies, captions, evaluators, reference, data)
        done(2)
        simple = ProbabilisticPca(data.pictures)
        made = simple.draw(captions, range(len(captions)))
        found["probabilistic PCA"] = measures.of_pictures(made, captions, evaluators, reference, data)
        few = held[: measures.LIKELIHOOD_PICTURES]
        bits = {
            "probabilistic PCA": simple.bits(few, held_captions[: len(few)]),
            "independent values": independent_bits(data.pictures, few),
        }
        for name, values in bits.items():
            error = float(values.std() / np.sqrt(len(values)))
            known = found.setdefault(name, {})
            known["likelihood"] = {"bits": float(values.mean()), "error": error, "pictures": len(few)}
        done(3)
        for kind, seed, run in runs:
            autoencoder = getattr(load_model(run, dtype=torch.float32).model, "codec", None)
            if seed == wanted.seed and isinstance(autoencoder, Autoencoder):
                decoded = np.concatenate(list(reconstructions(autoencoder, torch.from_numpy(held))))
                name = f"autoencoder of {kind}"
                found[name] = measures.of_pictures(decoded, held_captions, evaluators, reference, data)
                found[name] |= measures.of_reconstructions(held, decoded)
        done(4)
    firsts = [("a training picture", copies[:FIRST_PICTURES]), ("probabilistic PCA", made[:FIRST_PICTURES])]
    return found, firsts
