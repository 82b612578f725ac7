"""Checking a data set before training: every picture is decoded once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from unstir.data.content import content_id
from unstir.data.decoding import in_parallel
from unstir.data.entry import Entry, Problem, Source
from unstir.data.report import OBLONG, SMALL, TRAINING_SIZES, Flagged, Report, least_median_most
from unstir.data.transforms import decode_reduced, fit, has_alpha

_EXAMPLES = 3

Progress = Callable[[int, int], None]
"""Called with (done, total) after each picture."""


@dataclass(frozen=True, eq=False)
class PictureFacts:
    """What is kept of one decoded picture.

    width, height: in full, upright.  pixels: (size, size, C) uint8, by `transforms.fit`.
    transparent: by `transforms.has_alpha`, before scaling.
    one_colour: whether all pixels are equal.  content: their `content_id`.
    """

    width: int
    height: int
    pixels: npt.NDArray[np.uint8]
    transparent: bool
    one_colour: bool
    content: int


def picture_facts(entry: Entry, size: int, channels: int = 4) -> PictureFacts:
    """Decode a picture. Raises ValueError or OSError where that fails."""
    decoded = decode_reduced(entry.read(), size)
    pixels = fit(decoded.image, size, channels, decoded.square)
    one_colour = bool((pixels == pixels[0, 0]).all())
    transparent = has_alpha(decoded.image)
    return PictureFacts(decoded.width, decoded.height, pixels, transparent, one_colour, content_id(pixels))


def check_source(
    source: Source, progress: Progress | None = None, workers: int | None = None, size: int = TRAINING_SIZES[-1]
) -> Report:
    """Decode every picture of a source and report; those that cannot be decoded become problems.

    workers: threads, by default one for each core; the report does not depend on them.
    size: the side in pixels at which pictures are compared with each other.
    Raises ValueError for less than one worker or a size below 1.
    """
    builder = ReportBuilder(source, size)
    for _ in builder.examine(4, workers, progress):
        pass
    return builder.report()


class ReportBuilder:
    """Decodes the pictures of a source in one pass and collects the facts for its report, a few numbers for each.

    size: the side in pixels that the pictures are scaled to.
    usable: how many could be decoded so far.  broken: the problems of the others.
    Raises ValueError for a size below 1.
    """

    def __init__(self, source: Source, size: int) -> None:
        if size < 1:
            raise ValueError(f"pictures have a side of at least 1 pixel, not {size}")
        self.source, self.size = source, size
        self.broken: list[Problem] = []
        self.usable = 0
        # A row for each usable picture.
        count = len(source.entries)
        self._entries = np.empty(count, np.int64)
        self._sides = np.empty((count, 2), np.int32)
        self._flags = np.empty((count, 2), np.bool_)
        self._content = np.empty(count, np.int64)
        self._captions = np.empty(count, np.int64)
        self._caption_words = np.empty(count, np.int32)
        self._words: set[str] = set()

    def examine(
        self, channels: int, workers: int | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[Entry, PictureFacts]]:
        """Decode all entries and add them to the report; gives those that can be decoded, in order.

        channels: of the pixels, 3 or 4.
        """
        entries = self.source.entries
        make = partial(picture_facts, size=self.size, channels=channels)
        for done, (entry, facts) in enumerate(in_parallel(entries, make, workers), 1):
            if isinstance(facts, Problem):
                self.broken.append(facts)
            else:
                self._add(done - 1, facts)
                yield entry, facts
            if progress is not None:
                progress(done, len(entries))

    def _add(self, number: int, facts: PictureFacts) -> None:
        """Add the facts about the entry of this number."""
        row, caption = self.usable, self.source.entries[number].caption.casefold()
        words = caption.split()
        self._entries[row] = number
        self._sides[row] = min(facts.width, facts.height), max(facts.width, facts.height)
        self._flags[row] = facts.transparent, facts.one_colour
        self._content[row] = facts.content
        self._captions[row] = hash(caption)  # compared only with others of this process
        self._caption_words[row] = len(words)
        self._words.update(word.strip(".,;:!?\"'()") for word in words)
        self.usable += 1

    def report(self) -> Report:
        """The report on what was examined so far."""
        shorter, longer = self._sides[: self.usable].T
        transparent, one_colour = self._flags[: self.usable].T
        _, same_caption = np.unique(self._captions[: self.usable], return_counts=True)
        return Report(
            name=self.source.name,
            layout=self.source.layout,
            pictures=len(self.source.entries),
            usable=self.usable,
            problems=(*self.source.problems, *self.broken),
            size=self.size,
            shorter_side=least_median_most(shorter),
            longer_side=least_median_most(longer),
            transparent=int(transparent.sum()),
            duplicates=self._duplicates(),
            same_captions=int(same_caption[same_caption > 1].sum()),
            caption_words=least_median_most(self._caption_words[: self.usable]),
            distinct_words=len(self._words - {""}),
            small=self._flagged(shorter < SMALL),
            one_colour=self._flagged(one_colour),
            oblong=self._flagged(~transparent & ((longer - shorter) / longer > OBLONG)),
        )

    def _duplicates(self) -> Flagged:
        content = self._content[: self.usable]
        _, first, group, count = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
        repeated = np.flatnonzero(count > 1)
        if not len(repeated):
            return Flagged(0, ())
        example = repeated[first[repeated].argmin()]
        return Flagged(int((count - 1).sum()), self._flagged(group == example).keys)

    def _flagged(self, chosen: npt.NDArray[np.bool_]) -> Flagged:
        rows = self._entries[np.flatnonzero(chosen)[:_EXAMPLES]]
        return Flagged(int(chosen.sum()), tuple(self.source.entries[row].key for row in rows))
