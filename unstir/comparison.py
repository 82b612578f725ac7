"""`unstir.compare`: kinds of model trained for the same time on the same pictures, in one table."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unstir.compare.data import ComparedData, Comparison, prepare_data
from unstir.compare.evaluators import EVALUATORS, ClipEvaluator, Evaluator, WordEvaluator
from unstir.compare.page import write_comparison
from unstir.compare.results import measure_all
from unstir.compare.training import trained
from unstir.durations import duration, parse_duration
from unstir.errors import UserError
from unstir.evaluate.run.cache import ArrayCache
from unstir.files import write_atomic
from unstir.models.paradigms import names, paradigm
from unstir.request import checked_device, checked_seed
from unstir.train.kinds import Training, training
from unstir.train.run_setup import Reporter, RunSetup, Silent

EVALUATOR_SEED = 1_000
"""Of the training of evaluators, far from those of the models."""


def comparable_kinds() -> tuple[str, ...]:
    """The kinds of model that draw and have an automatic recipe, in the order of the table of paradigms."""
    without = Training().recipe
    return tuple(name for name in names() if paradigm(name).settings and training(name).recipe is not without)


def compare(
    data: str | Path,
    folder: str | Path,
    *,
    kinds: Sequence[str] | None = None,
    budget: str | float = "10m",
    n: int = 500,
    seeds: int = 1,
    seed: int = 0,
    pixels: int | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train kinds of model for the same time on the same pictures, measure all in the same way, and write one page.

    Arguments as `unstir compare --help` says. Returns what compare.json holds.
    UserError for what cannot be; `TrainingStopped` after Ctrl-C: the same call continues.
    """
    seconds = parse_duration(budget) if isinstance(budget, str) else float(budget)
    known = comparable_kinds()
    chosen = tuple(dict.fromkeys(kinds)) if kinds else known
    odd = [kind for kind in chosen if kind not in known]
    if odd:
        raise UserError(f"there is no kind {odd[0]!r} to compare; there are: {', '.join(known)}")
    for name, value, least in (("n", n, 16), ("seeds", seeds, 1), ("pixels", pixels or 8, 8)):
        if value < least:
            raise UserError(f"{name} must be {least} or more, got {value}")
    wanted = Comparison(
        str(data), Path(folder), chosen, seconds, n, seeds, checked_seed(seed), pixels, checked_device(device)
    )
    return run_comparison(wanted, reporter or Silent())


def run_comparison(wanted: Comparison, reporter: Reporter) -> dict[str, Any]:
    """Everything that is not done yet, then the page."""
    _check_request(wanted)
    setup = RunSetup(wanted.data, wanted.folder, wanted.device, wanted.budget, time.monotonic(), wanted.seed, reporter)
    data = prepare_data(setup, wanted.side)
    total = wanted.seeds * len(wanted.kinds) * wanted.budget + wanted.budget
    reporter.say(
        f"{len(data.pictures):,} pictures of {data.shape[1]} pixels to train on, {len(data.held_out):,} held out; "
        f"training takes {duration(total)} in all"
    )
    evaluators = _evaluators(wanted, data, reporter)
    runs = []
    for number in range(wanted.seeds):
        for kind in wanted.kinds:
            run = wanted.folder / "runs" / f"{kind}-{wanted.seed + number}"
            reporter.say(f"{paradigm(kind).title}, seed {wanted.seed + number}, {duration(wanted.budget)}")
            trained(data, kind, run, wanted.budget, wanted.seed + number, wanted.device)
            runs.append((kind, wanted.seed + number, run))
    results = measure_all(wanted, data, evaluators, runs, reporter)
    return write_comparison(wanted, data, [evaluator.name for evaluator in evaluators], results)


def _check_request(wanted: Comparison) -> None:
    """Refuse to continue a comparison with other data or another budget."""
    path = wanted.folder / "request.json"
    asked = {"data": wanted.data, "budget": wanted.budget, "seed": wanted.seed, "pixels": wanted.side}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted.folder.exists() and (not wanted.folder.is_dir() or any(wanted.folder.iterdir())):
            raise UserError(f"{wanted.folder} is not empty and holds no comparison; name another --out") from None
        write_atomic(path, json.dumps(asked, indent=1))
        return
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); begin anew in another folder") from None
    changed = [name for name, value in asked.items() if before.get(name) != value]
    if changed:
        raise UserError(
            f"{wanted.folder} is a comparison with another {changed[0]} ({before.get(changed[0])}, not "
            f"{asked[changed[0]]}); give the same one, or name another --out"
        )


def _evaluators(wanted: Comparison, data: ComparedData, reporter: Reporter) -> list[Evaluator]:
    """The evaluators, trained where they are not yet; each takes half of the budget of a model."""
    for name, kind in EVALUATORS.items():
        run = wanted.folder / "evaluators" / kind
        reporter.say(f"evaluator: a {name}, {duration(wanted.budget / 2)}")
        trained(data, kind, run, wanted.budget / 2, EVALUATOR_SEED, wanted.device)
    folder = wanted.folder / "evaluators"
    clip = ClipEvaluator(folder / "clip", ArrayCache(wanted.folder / "vectors"), wanted.device)
    return [clip, WordEvaluator(folder / "classifier", wanted.device)]
