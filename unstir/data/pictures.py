"""Pictures as one array in memory or on disk: every file is decoded once, before training, and never again."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from unstir.data.entry import Entry, Problem, Source
from unstir.data.transforms import decode, fit, has_alpha
from unstir.errors import UserError
from unstir.files import replacing, write_atomic

PIXELS, LISTING = "pixels.npy", "pictures.jsonl"
_CHUNK = 256

T = TypeVar("T")


@dataclass(eq=False)
class Pictures:
    """N pictures and what is said of them.

    pixels: (N, H, W, C) uint8, C = 3 or 4 (straight alpha); may be memory-mapped and read-only.
    captions: N tuples of alternatives, none empty; the first is the plain caption.
    keys: N names.  meta: N dicts of JSON values.  Raises ValueError where these do not go together.
    """

    pixels: npt.NDArray[np.uint8]
    captions: list[tuple[str, ...]]
    keys: list[str]
    meta: list[dict[str, object]]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8 or self.pixels.shape[3] not in (3, 4):
            raise ValueError(f"pixels must be (N, H, W, 3 or 4) uint8, not {self.pixels.shape} {self.pixels.dtype}")
        if not len(self.pixels) == len(self.captions) == len(self.keys) == len(self.meta):
            raise ValueError("pixels, captions, keys and meta must be of one length")
        if not all(self.captions):
            raise ValueError("every picture needs at least one caption")

    def __len__(self) -> int:
        return len(self.keys)

    def content_ids(self) -> npt.NDArray[np.int64]:
        """(N,) numbers that are equal where the pixels are."""
        seen: dict[bytes, int] = {}
        digests = (hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in self.pixels)
        return np.array([seen.setdefault(digest, len(seen)) for digest in digests], dtype=np.int64)

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "Pictures":
        """The pictures at `indices`, in that order, in memory."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Pictures(
            np.asarray(self.pixels[chosen]),
            [self.captions[i] for i in chosen],
            [self.keys[i] for i in chosen],
            [self.meta[i] for i in chosen],
        )

    def save(self, where: Path) -> None:
        """Write pixels.npy and pictures.jsonl into the folder `where`. A crash leaves a pack that does not load."""
        _write(where, self.pixels, list(zip(self.keys, self.captions, self.meta, strict=True)))

    @staticmethod
    def load(where: Path) -> "Pictures":
        """Open a folder written by `pack` or `save`; the pixels are memory-mapped, read-only. Raises UserError."""
        again = "pack the pictures again"
        try:
            pixels = np.load(where / PIXELS, mmap_mode="r", allow_pickle=False)
            rows = [json.loads(line) for line in (where / LISTING).read_text(encoding="utf-8").splitlines()]
            captions = [tuple(str(caption) for caption in row["captions"]) for row in rows]
            return Pictures(pixels, captions, [str(row["key"]) for row in rows], [dict(row["meta"]) for row in rows])
        except FileNotFoundError as error:
            raise UserError(f"There is no complete pack of pictures in {where}: {again}.") from error
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The pack of pictures in {where} is damaged: {again}. ({error})") from error


def pack(
    source: Source,
    size: int,
    channels: int | None = None,
    where: Path | None = None,
    captioner: Callable[[Entry], tuple[str, ...]] | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pictures, list[Problem]]:
    """Decode every entry of a source once.

    size: side in pixels.  channels: 3, 4, or None for 4 if any picture is really transparent and else 3.
    where: a folder to write the pack to and map it from (atomically); None keeps it in memory.
    captioner: gives the alternatives for an entry, plain caption first; by default its caption alone.
    workers: decoding threads; the result does not depend on them.  progress: called with (done, total).
    Returns the pictures in the order of the entries, and those that could not be decoded as problems.
    Raises UserError if none could, ValueError for a size or channels that make no sense.
    """
    if size < 1 or channels not in (None, 3, 4) or workers < 1:
        raise ValueError(f"pack needs size >= 1, channels 3 or 4, workers >= 1: {size=}, {channels=}, {workers=}")
    if not source.entries:
        raise UserError(f"There are no pictures in {source.name}.")
    entries, problems = source.entries, list[Problem]()
    rows: list[tuple[str, tuple[str, ...], dict[str, object]]] = []
    transparent = False
    if where is not None:
        where.mkdir(parents=True, exist_ok=True)

    def make(image: Image.Image) -> tuple[npt.NDArray[np.uint8], bool]:
        return fit(image, size, channels or 4), has_alpha(image)

    # How many rows and channels there will be is known at the end, so they are collected in a file without a name.
    with TemporaryFile(dir=where) as scratch:
        shape = (len(entries), size, size, channels or 4)
        raw: npt.NDArray[np.uint8]
        raw = np.empty(shape, np.uint8) if where is None else np.memmap(scratch, np.uint8, "w+", shape=shape)
        for done, (entry, result) in enumerate(decoded(entries, make, workers), 1):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                raw[len(rows)], alpha = result
                transparent = transparent or alpha
                rows.append((entry.key, _captions(entry, captioner), dict(entry.meta)))
            if progress is not None:
                progress(done, len(entries))
        if not rows:
            raise UserError(f"Not one picture of {source.name} could be decoded; the first: {problems[0].what}")
        kept = raw[: len(rows), :, :, : channels or (4 if transparent else 3)]
        if where is not None:
            _write(where, kept, rows)
            del raw, kept  # unmap before the file goes
            return Pictures.load(where), problems
    keys, captions, meta = (list(column) for column in zip(*rows, strict=True))
    return Pictures(np.ascontiguousarray(kept), captions, keys, meta), problems


def decoded(
    entries: list[Entry], make: Callable[[Image.Image], T], workers: int
) -> Iterator[tuple[Entry, T | Problem]]:
    """Each entry with what `make` made of its picture, or with its problem; in order, a chunk of them at a time.

    make: called from `workers` >= 1 threads (Pillow decodes without holding Python's lock).
    """

    def one(entry: Entry) -> T | Problem:
        try:
            return make(decode(entry.read()))
        except ValueError as error:
            return Problem(entry.key, str(error))
        except OSError as error:
            return Problem(entry.key, f"The picture cannot be read ({error.strerror or error}).")

    with ThreadPoolExecutor(workers) as pool:
        remaining = iter(entries)
        while chunk := list(islice(remaining, _CHUNK)):
            yield from zip(chunk, pool.map(one, chunk), strict=True)


def fingerprint(pictures: Pictures) -> str:
    """SHA-256, in hex, over the pixels (and their shape), the keys and the captions; not over meta."""
    digest = hashlib.sha256(json.dumps(pictures.pixels.shape).encode())
    for start in range(0, len(pictures), _CHUNK):
        digest.update(np.ascontiguousarray(pictures.pixels[start : start + _CHUNK]).data)
    digest.update(json.dumps([pictures.keys, pictures.captions]).encode())
    return digest.hexdigest()


def _captions(entry: Entry, captioner: Callable[[Entry], tuple[str, ...]] | None) -> tuple[str, ...]:
    """The alternatives for an entry. Raises ValueError if there are none."""
    captions = (entry.caption,) if captioner is None else tuple(captioner(entry))
    if not captions:
        raise ValueError(f"the captioner gave no caption for {entry.key}")
    return captions


def _write(
    where: Path, pixels: npt.NDArray[np.uint8], rows: list[tuple[str, tuple[str, ...], dict[str, object]]]
) -> None:
    """Write a pack. The listing goes first and comes last: between the two files no crash can pair old with new."""
    where.mkdir(parents=True, exist_ok=True)
    (where / LISTING).unlink(missing_ok=True)
    with replacing(where / PIXELS) as temporary:
        target = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=pixels.shape)
        for start in range(0, len(pixels), _CHUNK):
            target[start : start + _CHUNK] = pixels[start : start + _CHUNK]
        target.flush()
        del target
    lines = (json.dumps({"key": key, "captions": captions, "meta": meta}) for key, captions, meta in rows)
    write_atomic(where / LISTING, "".join(f"{line}\n" for line in lines))
