"""Measuring how fast a machine trains, to estimate how many pictures a budget is enough for."""

import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from unstir.data.pictures import Pictures
from unstir.train import auto_recipe, run_folder
from unstir.train.distributed import any_process
from unstir.train.kinds import Preview, held_out_pictures, training
from unstir.train.run import Run
from unstir.train.run_file import RunFile
from unstir.train.run_setup import RunSetup

EVALUATION_FRACTION = 0.05
"""The fraction of the budget that one sample grid may take; on a slow machine the grid has fewer pictures."""


def with_estimated_images(setup: RunSetup, run_file: RunFile, model: Any, pictures: Pictures) -> tuple[RunFile, float]:
    """The run file with an estimate of how many pictures can be trained on in what is left of the budget.

    The estimate only spaces samples and checkpoints: the clock decides when the run ends (`train.schedule`).
    Returns the run file, and the rate in pictures a second.
    """
    setup.reporter.say("measuring how fast this machine trains …")
    trial = run_folder.run_of(setup.folder, run_file, model, pictures)
    try:
        validation, one_picture = evaluation_seconds(trial, run_file)
        shown = max(1, int(EVALUATION_FRACTION * setup.seconds / max(one_picture, 1e-3)))
        run_file = replace(run_file, prompts=run_file.prompts[:shown])
        evaluation = validation + one_picture * len(run_file.prompts)
        rate = measured_rate(trial, seconds=min(6.0, setup.seconds / 10))
    finally:
        trial.source.release()
    seconds = setup.seconds - (time.monotonic() - setup.began)
    count = auto_recipe.evaluations(seconds, evaluation)
    for_steps = max(0.0, seconds - (count + 1) * evaluation)
    if rate * for_steps < run_file.train.batch_size:
        setup.reporter.say("note: the budget is enough for one or two steps only; the model will be poor")
    config = auto_recipe.with_images(run_file.train, int(rate * for_steps), count)
    return replace(run_file, train=config), rate


def measured_rate(run: Run[Any], seconds: float = 6.0) -> float:
    """Training speed in pictures a second, from a few real steps; the run is as before afterwards.

    The median over the steps, without the first two (warm-up and compilation). Several processes that train together
    take the steps together.
    seconds: how long to measure, three steps at least.
    """
    state = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
    if run.config.compile:
        run.model.compile_loss()
    run.step()
    run.step()
    times: list[float] = []
    began = time.perf_counter()
    while any_process(len(times) < 3 or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        run.step()
        times.append(time.perf_counter() - start)
    with torch.no_grad():
        for name, value in run.model.state_dict().items():
            value.copy_(state[name])
    run.reset()
    return run.config.batch_size / statistics.median(times)


def evaluation_seconds(run: Run[Any], run_file: RunFile) -> tuple[float, float]:
    """How long validation takes on this machine, and one picture of the sample grid."""
    known = training(run.kind)
    start = time.perf_counter()
    with run.evaluating() as model:
        known.validate(model, held_out_pictures(run.pictures, run.config), run.config.batch_size)
    validation = time.perf_counter() - start
    if not run_file.prompts:
        return validation, 0.0
    start = time.perf_counter()
    with run.evaluating() as model:
        known.preview(model, Preview(run_file.prompts[:1], run_file.settings, run.pictures))
    return validation, time.perf_counter() - start
