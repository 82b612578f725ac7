"""Reading the pictures of a new run: checked, scaled and packed into its folder.

Of several processes the first one reads; the others wait for it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unstir.data.built_in import open_data
from unstir.data.entry import Source
from unstir.data.pack_files import LISTING
from unstir.data.packing import check_and_pack, pack
from unstir.data.pictures import Pictures
from unstir.data.report import problem_lines
from unstir.data.sample import sample_check, spread_rows
from unstir.durations import duration
from unstir.errors import UserError
from unstir.train import auto_recipe, run_folder
from unstir.train.batches import split
from unstir.train.distributed import barrier, is_first
from unstir.train.new_run import pack_for
from unstir.train.recipe import Recipe
from unstir.train.run_file import read_run_file
from unstir.train.run_setup import RunSetup

READING_FRACTION = 0.4
"""The fraction of the budget that reading the pictures may take."""

MIN_PICTURES = 256
"""Read at least so many pictures, whatever the budget: the time of so few cannot be estimated from a sample."""


def read_pictures(setup: RunSetup, read: Callable[[], None]) -> Pictures:
    """The packed pictures of a new run.

    read: packs them into the run folder; only the first process calls it. Not where an earlier stage has packed them.
    """
    packed = (setup.folder / run_folder.PICTURES / LISTING).exists()
    staged = (setup.folder / run_folder.STAGE_FILE).exists() or setup.folder.parent.name == run_folder.STAGES
    if is_first() and not (packed and staged):
        read()
    barrier()
    return Pictures.load(setup.folder / run_folder.PICTURES)


def open_training_data(data: str, size: int | None = None) -> Source | Pictures:
    """As `open_data`; also the packed pictures of a run or a comparison."""
    return Pictures.load(Path(data)) if (Path(data) / LISTING).exists() else open_data(data, size=size)


def read_at_size(setup: RunSetup, side: int) -> None:
    """Pack the data at this size, with an alpha channel where a picture has transparency. UserError for none."""
    found = open_data(setup.data, size=side)
    if isinstance(found, Pictures):
        found.save(setup.folder / run_folder.PICTURES)
        return
    if not found.entries:
        raise UserError(f"there are no pictures in {found.name}")
    with setup.reporter.stage("checking and packing pictures", len(found.entries)) as progress:
        report, _ = check_and_pack(
            found, side, setup.folder / run_folder.PICTURES, progress=lambda done, _: progress(done)
        )
    for line in report.lines():
        setup.reporter.say(line)


def read_for_budget(setup: RunSetup) -> None:
    """Pack the data at a size that suits it and the budget. Checks every picture in the same pass, and reports.

    UserError where no picture can be used.
    """
    found = open_training_data(setup.data)
    where = setup.folder / run_folder.PICTURES
    if isinstance(found, Pictures):
        found.save(where)
        setup.reporter.say(f"{setup.data}: {len(found)} pictures")
        return
    if not found.entries:
        raise UserError(f"there are no pictures in {found.name}")
    sample = sample_check(found, seconds=min(10.0, setup.seconds / 20))
    side = auto_recipe.picture_size(sample.suggested_size, setup.seconds, setup.on_gpu)
    found = _within_budget(setup, found, sample.estimate_seconds)
    with setup.reporter.stage("checking and packing pictures", len(found.entries)) as progress:
        report, _ = check_and_pack(found, side, where, progress=lambda done, _: progress(done))
    for line in report.lines():
        setup.reporter.say(line)
    if side < report.suggested_size():
        setup.reporter.say(f"training at {side} pixels: larger pictures take longer to learn than the budget allows")


def _within_budget(setup: RunSetup, found: Source, seconds: float) -> Source:
    """The source, or as many of its pictures, evenly spaced, as can be read in READING_FRACTION of the budget.

    seconds: the estimated time for reading all of them.
    """
    available = READING_FRACTION * (setup.seconds - (time.monotonic() - setup.began))
    if seconds <= available or len(found.entries) <= MIN_PICTURES:
        return found
    count = max(MIN_PICTURES, int(len(found.entries) * max(available, 0.0) / seconds))
    rows = sorted(spread_rows(len(found.entries), count))
    setup.reporter.say(
        f"note: reading all {len(found.entries):,} pictures takes about {duration(seconds)}; to leave "
        f"{1 - READING_FRACTION:.0%} of the time for training, {len(rows):,} of them are used, evenly spaced; "
        "a longer --budget uses all"
    )
    return replace(found, entries=[found.entries[row] for row in rows])


def read_for_recipe(setup: RunSetup, recipe: Recipe) -> None:
    """Pack the pictures that the recipe selects from the data."""
    found = open_training_data(setup.data, recipe.shape[1])
    count = len(found if isinstance(found, Pictures) else found.entries)
    with setup.reporter.stage("reading pictures", count) as progress:
        _, problems = pack_for(found, recipe, setup.folder / run_folder.PICTURES, lambda done, _: progress(done))
    for line in problem_lines(problems):
        setup.reporter.say(line)


def read_for_model(setup: RunSetup, shape: tuple[int, int, int]) -> None:
    """Pack the data for a model that exists already; of a run folder, the pictures that it was trained on.

    shape: (channels, side, side) of the model's pictures.
    UserError where the data have another shape and cannot be scaled.
    """
    channels, side, _ = shape
    where = setup.folder / run_folder.PICTURES
    if run_folder.exists(Path(setup.data)):
        every = Pictures.load(Path(setup.data) / run_folder.PICTURES)
        found = every.take(split(every, read_run_file(Path(setup.data)).train)[0])
    else:
        opened = open_training_data(setup.data, side)
        if not isinstance(opened, Pictures):
            with setup.reporter.stage("reading pictures", len(opened.entries)) as progress:
                pack(opened, side, channels, where, progress=lambda done, _: progress(done))
            return
        found = opened
    if found.pixels.shape[1:] != (side, side, channels):
        height, width, have = found.pixels.shape[1:]
        raise UserError(
            f"the model draws {side}×{side} pixels with {channels} channels, the pictures of {setup.data} have "
            f"{width}×{height} with {have}; give other pictures"
        )
    found.save(where)
