"""Packing a source: every picture is decoded once, before training, and never again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unstir.data.check import PictureFacts, Progress, ReportBuilder
from unstir.data.entry import Entry, Problem, Source
from unstir.data.pack_files import PackWriter, new_pack
from unstir.data.pictures import Pictures
from unstir.data.report import Report
from unstir.errors import UserError

Captioner = Callable[[Entry], tuple[str, ...]]
"""Gives the captions of an entry, the plain one first."""


def check_and_pack(
    source: Source,
    size: int,
    where: Path | None = None,
    *,
    channels: int | None = None,
    captioner: Captioner | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Report, Pictures]:
    """Decode every entry of a source once, for the report of `check` and for the pictures to train on.

    size: side in pixels; large JPEGs are decoded at reduced scale for it (`transforms.decode_reduced`).
    where: a folder to write the pack to and to map it from, atomically; None keeps it in memory.
    channels: 3, 4, or None for 4 if any picture is transparent and else 3.
    captioner: gives the captions of an entry; by default it has its own alone.
    workers: threads, by default one for each core; the result does not depend on them.
    progress: called with (done, total).
    Returns the report, and the pictures that can be decoded in the order of the entries; the problems are in the
    report.
    Raises UserError if no picture can be decoded or the disk is full, ValueError for arguments that make no sense.
    """
    if channels not in (None, 3, 4):
        raise ValueError(f"pictures are packed with 3 or 4 channels, or None, not {channels}")
    if not source.entries:
        raise UserError(f"there are no pictures in {source.name}")
    builder = ReportBuilder(source, size)
    examined = builder.examine(channels or 4, workers, progress)
    if where is None:
        memory = _Memory(channels)
        _fill(memory, examined, captioner, builder)
        return builder.report(), memory.pictures()
    with new_pack(where, len(source.entries), size, size, channels) as writer:
        _fill(writer, examined, captioner, builder)
    return builder.report(), Pictures.load(where)


def pack(
    source: Source,
    size: int,
    channels: int | None = None,
    where: Path | None = None,
    captioner: Captioner | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Pictures, list[Problem]]:
    """`check_and_pack` without the report: the pictures, and those that cannot be decoded as problems."""
    report, pictures = check_and_pack(
        source, size, where, channels=channels, captioner=captioner, workers=workers, progress=progress
    )
    return pictures, list(report.problems[len(source.problems) :])


def _fill(
    target: "PackWriter | _Memory",
    examined: Iterable[tuple[Entry, PictureFacts]],
    captioner: Captioner | None,
    builder: ReportBuilder,
) -> None:
    """Add all pictures to a folder or to memory."""
    for entry, facts in examined:
        captions = (entry.caption,) if captioner is None else tuple(captioner(entry))
        if not captions:
            raise ValueError(f"the captioner gave no caption for {entry.key}")
        target.add(facts.pixels, entry.key, captions, entry.meta, facts.content, facts.transparent)
    if not builder.usable:
        first = builder.broken[0]
        raise UserError(f"no picture of {builder.source.name} can be decoded; the first, {first.key}: {first.what}")


class _Memory:
    """Collects pictures as a `PackWriter` does, in memory."""

    def __init__(self, channels: int | None) -> None:
        self._channels = channels or 3
        self._grows = channels is None
        self._rows: list[npt.NDArray[np.uint8]] = []
        self._keys: list[str] = []
        self._captions: list[tuple[str, ...]] = []
        self._meta: list[dict[str, object]] = []
        self._content: list[int] = []

    def add(
        self,
        pixels: npt.NDArray[np.uint8],
        key: str,
        captions: Sequence[str],
        meta: Mapping[str, object],
        content: int,
        transparent: bool,
    ) -> None:
        if self._grows and transparent:
            self._channels = 4
        self._rows.append(pixels)
        self._keys.append(key)
        self._captions.append(tuple(captions))
        self._meta.append(dict(meta))
        self._content.append(content)

    def pictures(self) -> Pictures:
        pixels = np.stack([row[..., : self._channels] for row in self._rows])
        return Pictures(pixels, self._captions, self._keys, self._meta, np.array(self._content, np.int64))
