"""Pictures as one array, in memory or mapped from disk, with their captions."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unstir.data.content import content_ids
from unstir.data.pack_files import LISTING, PIXELS, new_pack
from unstir.errors import UserError

__all__ = ["LISTING", "PIXELS", "Pictures"]

_CHUNK = 256


@dataclass(eq=False)
class Pictures:
    """N pictures with captions.

    pixels: (N, H, W, C) uint8, C = 3 or 4 (straight alpha); may be memory-mapped and read-only.
    captions: N tuples of alternatives, none empty; the first is the plain caption.
    keys: N names.  meta: N dicts of JSON values.
    ids: the `content_ids` where they are known; computed when they are asked for otherwise.
    where: the folder that they were loaded from, or None.
    Raises ValueError where these do not go together.
    """

    pixels: npt.NDArray[np.uint8]
    captions: list[tuple[str, ...]]
    keys: list[str]
    meta: list[dict[str, object]]
    ids: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    where: Path | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8 or self.pixels.shape[3] not in (3, 4):
            raise ValueError(f"pixels must be (N, H, W, 3 or 4) uint8, not {self.pixels.shape} {self.pixels.dtype}")
        if not len(self.pixels) == len(self.captions) == len(self.keys) == len(self.meta):
            raise ValueError("pixels, captions, keys and meta must be of one length")
        if not all(self.captions):
            raise ValueError("every picture needs at least one caption")
        if self.ids is not None and self.ids.shape != (len(self.pixels),):
            raise ValueError(f"{len(self.pixels)} pictures cannot have ids of the shape {self.ids.shape}")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def content_ids(self) -> npt.NDArray[np.int64]:
        """(N,) int64: equal where the pixels are equal, whatever keys and captions are; read-only.

        An id depends on the pixels alone, so the ids of different sets can be compared. Packs store them; otherwise
        they are computed at the first call, and not again if `pixels` is changed.
        """
        if self.ids is None:
            self.ids = content_ids(self.pixels)
        self.ids.setflags(write=False)
        return self.ids

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "Pictures":
        """The pictures at `indices`, in that order, in memory."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Pictures(
            np.asarray(self.pixels[chosen]),
            [self.captions[i] for i in chosen],
            [self.keys[i] for i in chosen],
            [self.meta[i] for i in chosen],
            None if self.ids is None else self.ids[chosen],
        )

    def save(self, where: Path) -> None:
        """Write the pictures into the folder `where`, as `load` reads them. Raises UserError where the disk is full."""
        with new_pack(where, *self.pixels.shape) as pack:
            for row, pixels in enumerate(self.pixels):
                pack.add(pixels, self.keys[row], self.captions[row], self.meta[row], int(self.content_ids[row]))

    @staticmethod
    def load(where: Path) -> "Pictures":
        """Open a folder written by `pack` or `save`; the pixels are memory-mapped, read-only.

        Raises UserError where there is no complete pack, or a damaged one.
        """
        again = "pack the pictures again"
        try:
            pixels = np.load(where / PIXELS, mmap_mode="r", allow_pickle=False)
            rows = [json.loads(line) for line in (where / LISTING).read_text(encoding="utf-8").splitlines()]
            known = all("content" in row for row in rows)
            return Pictures(
                pixels,
                [tuple(str(caption) for caption in row["captions"]) for row in rows],
                [str(row["key"]) for row in rows],
                [dict(row["meta"]) for row in rows],
                np.array([row["content"] for row in rows], dtype=np.int64) if known else None,
                where,
            )
        except FileNotFoundError as error:
            raise UserError(f"there is no complete pack of pictures in {where}; {again}") from error
        except (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(f"the pack of pictures in {where} is damaged ({error}); {again}") from error

    def sha256(self) -> str:
        """A hash, in hex, of the pixels and their shape, the keys and the captions; not of meta."""
        digest = hashlib.sha256(json.dumps(self.pixels.shape).encode())
        for start in range(0, len(self), _CHUNK):
            digest.update(np.ascontiguousarray(self.pixels[start : start + _CHUNK]).data)
        digest.update(json.dumps([self.keys, self.captions]).encode())
        return digest.hexdigest()
