"""Batches of scenes: planned ahead by other processes, painted on the device."""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from unstir.data.order import CAPTION, ORDER, order
from unstir.data.pictures import Pictures
from unstir.diffusion.noise import derive_seed
from unstir.diffusion.philox import keyed_generator
from unstir.models.diffusion import Batch
from unstir.models.process_group import process_group
from unstir.scenes.compose import SceneArrays, compose, scene_arrays, to_device
from unstir.scenes.planner import Drawing, Scene, SceneMix, ScenePlanner, drawn_box
from unstir.text.tokenizer import Tokenizer

BATCHES_AHEAD = 2
"""Batches that each planning process has in hand."""


@dataclass(frozen=True)
class BatchPlanner:
    """What comes after so many pictures, as numbers.

    index: rows of `drawings`, as often in an epoch as each shall be seen.
    length: tokens that the model reads.
    """

    drawings: Sequence[Drawing]
    index: npt.NDArray[np.int64]
    tokenizer: Tokenizer
    length: int
    mix: SceneMix
    batch_size: int
    seed: int = 0
    caption_dropout: float = 0.0

    @cached_property
    def planner(self) -> ScenePlanner:
        return ScenePlanner(self.drawings, self.mix, self.fits)

    def fits(self, caption: str) -> bool:
        """Whether the model can read this caption to its end."""
        return len(self.tokenizer.tokens(caption)) <= self.length

    def at(self, images_seen: int) -> "PlannedBatch":
        """The batch that follows after so many pictures."""
        places = order(len(self.index), derive_seed(self.seed, ORDER), images_seen, self.batch_size)
        rng = keyed_generator(derive_seed(self.seed, images_seen, CAPTION))
        scenes = [self.planner.scene(int(row), rng) for row in self.index[places]]
        scenes = [
            scene._replace(caption="", told=()) if rng.random() < self.caption_dropout else scene for scene in scenes
        ]
        ids = np.array(self.tokenizer.encode([scene.caption for scene in scenes], self.length), np.int64)
        return PlannedBatch(scene_arrays(scenes), ids, np.stack([self.layout(scene) for scene in scenes]))

    def layout(self, scene: Scene) -> npt.NDArray[np.float32]:
        """(L, 3): x, y and scale of the thing that each token names, nan for those that name none."""
        out = np.full((self.length, 3), np.nan, np.float32)
        if scene.told:
            words = np.array(self.tokenizer.words(scene.caption))
            for first, end, *where in scene.told:
                out[np.flatnonzero((words >= first) & (words < end))] = where
        return out


class PlannedBatch(NamedTuple):
    """plans: of B scenes.  ids: (B, L), the tokens of their captions.  layout: (B, L, 3), see `BatchPlanner.layout`."""

    plans: SceneArrays
    ids: npt.NDArray[np.int64]
    layout: npt.NDArray[np.float32]


_planner: BatchPlanner | None = None


def _begin(planner: BatchPlanner) -> None:
    global _planner
    _planner = planner
    torch.set_num_threads(1)


def _plan(images_seen: int) -> PlannedBatch:
    assert _planner is not None
    return _planner.at(images_seen)


class SceneBatches:
    """A `next_batch` for `Run`: a pure function of the training clock, made early where processes are given.

    Where several processes train together, each plans the whole batch and paints its own rows.
    pixels: (N, S, S, 4) uint8, on the device where the scenes are painted.  workers: planning processes, or 0.
    """

    def __init__(self, pixels: torch.Tensor, planner: BatchPlanner, workers: int = 0) -> None:
        self.pixels, self.planner, self.workers = pixels, planner, workers
        self._coming: dict[int, Future[PlannedBatch]] = {}
        self._pool = (
            ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(planner,))
            if workers
            else None
        )

    def __call__(self, images_seen: int) -> Batch:
        planned = self._planned(images_seen)
        mine = process_group().rows(len(planned.ids))
        with torch.no_grad():
            x0 = compose(self.pixels, SceneArrays(*(part[mine] for part in planned.plans)))
        device = self.pixels.device
        return Batch(x0, to_device(planned.ids[mine], device), to_device(planned.layout[mine], device))

    def close(self) -> None:
        """Let the planning processes go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "SceneBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _planned(self, images_seen: int) -> PlannedBatch:
        if self._pool is None:
            return self.planner.at(images_seen)
        step = self.planner.batch_size
        for later in range(images_seen, images_seen + step * self.workers * BATCHES_AHEAD, step):
            if later not in self._coming:
                self._coming[later] = self._pool.submit(_plan, later)
        coming = self._coming.pop(images_seen)
        for passed in [seen for seen in self._coming if seen < images_seen]:
            self._coming.pop(passed).cancel()  # the clock has jumped over them
        return coming.result()


def drawings_of(pictures: Pictures) -> list[Drawing]:
    """What scenes need to know of pictures, from their metadata: name, tags, phrase, style, thing, dark."""
    out = []
    for pixels, meta in zip(pictures.pixels, pictures.meta, strict=True):
        tags = meta.get("tags")
        name = str(meta["name"])
        out.append(
            Drawing(
                name,
                tuple(str(tag) for tag in tags if tag != name) if isinstance(tags, list) else (),
                str(meta["phrase"]),
                str(meta["style"]),
                drawn_box(pixels[..., 3]),
                bool(meta.get("thing")),
                bool(meta.get("dark")),
            )
        )
    return out
