"""Batches of scenes: planned in advance by worker processes, painted on the device."""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any, NamedTuple

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
from unstir.scenes.planner import SceneMix, ScenePlanner
from unstir.scenes.scene import Drawing, Scene, drawn_box
from unstir.text.tokenizer import Tokenizer

BATCHES_AHEAD = 2
"""Batches planned in advance by each worker process."""


@dataclass(frozen=True)
class BatchPlanner:
    """Plans batches of scenes: a pure function of the training clock.

    drawings: to compose scenes of.
    index: rows of `drawings`, each as often as it is used in one pass.
    tokenizer: of the model.
    length: context of the model in tokens.
    mix: the kinds of scenes.
    batch_size: of all processes together.
    seed: of the order and the scenes.
    caption_dropout: fraction of scenes with the empty prompt.
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
        """Whether the caption fits into the context."""
        return len(self.tokenizer.tokens(caption)) <= self.length

    def at(self, images_seen: int) -> "PlannedBatch":
        """The batch after `images_seen` pictures."""
        chosen = order(len(self.index), derive_seed(self.seed, ORDER), images_seen, self.batch_size)
        rng = keyed_generator(derive_seed(self.seed, images_seen, CAPTION))
        scenes = [self.planner.scene(int(row), rng) for row in self.index[chosen]]
        empty: dict[str, Any] = {"caption": "", "named_things": ()}
        scenes = [scene._replace(**empty) if rng.random() < self.caption_dropout else scene for scene in scenes]
        ids = np.array(self.tokenizer.encode([scene.caption for scene in scenes], self.length), np.int64)
        return PlannedBatch(scene_arrays(scenes), ids, np.stack([self.layout(scene) for scene in scenes]))

    def layout(self, scene: Scene) -> npt.NDArray[np.float32]:
        """(L, 3): x, y and scale of the thing that each token names, NaN for tokens that name none."""
        out = np.full((self.length, 3), np.nan, np.float32)
        if scene.named_things:
            words = np.array(self.tokenizer.words(scene.caption))
            for first, end, *where in scene.named_things:
                out[np.flatnonzero((words >= first) & (words < end))] = where
        return out


class PlannedBatch(NamedTuple):
    """A batch before it is painted.

    scenes: B scenes.
    ids: (B, L), the tokens of their captions.
    layout: (B, L, 3), see `BatchPlanner.layout`.
    """

    scenes: SceneArrays
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
    """A `next_batch` of a `BatchSource`: a pure function of the training clock.

    With several training processes, each plans the whole batch and paints its own rows.
    pixels: (N, S, S, 4) uint8, on the device where the scenes are painted.
    planner: of the batches.
    workers: number of planning processes; 0: planned when needed.
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
            x0 = compose(self.pixels, SceneArrays(*(part[mine] for part in planned.scenes)))
        device = self.pixels.device
        return Batch(x0, to_device(planned.ids[mine], device), to_device(planned.layout[mine], device))

    def close(self) -> None:
        """Stop the planning processes."""
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
            self._coming.pop(passed).cancel()  # the training clock has skipped them
        return coming.result()


def drawings_of(pictures: Pictures) -> list[Drawing]:
    """Pictures as drawings for scenes, from their metadata.

    KeyError where name, phrase or style is missing; tags, thing and dark are optional.
    """
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
