"""The two files of packed pictures: pixels.npy, one array, and pictures.jsonl, a line for each picture.

A line is {"key": ..., "captions": [...], "meta": {...}, "content": ...}; "content" is the picture's `content_id` and
may be missing (packs written before it was introduced).
"""

import errno
import fcntl
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unstir.files import replacing, reserve, write_error

PIXELS, LISTING = "pixels.npy", "pictures.jsonl"
_START = 128
_CHUNK = 64


@contextmanager
def new_pack(where: Path, count: int, height: int, width: int, channels: int | None) -> Iterator["PackWriter"]:
    """Write a pack into a folder, replacing the one in it; if the block raises, that one stays.

    A crash leaves the old pack, the new one, or one that does not load: never old and new files together.
    count: the most pictures that will be written; disk space for them is reserved first.
    channels: 3, 4, or None for 4 from the first transparent picture on and else 3.
    Raises UserError where the disk is full or cannot be written to; so does the writer.
    """
    where.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(where)
    with replacing(where / LISTING) as listing, replacing(where / PIXELS) as pixels:
        # Without buffers, closing a file of a full disk cannot raise a second error.
        with open(pixels, "rb+", buffering=0) as file, open(listing, "rb+", buffering=0) as lines:
            with suppress(OSError):  # some file systems have no locks
                for locked in (file, lines):
                    fcntl.flock(locked, fcntl.LOCK_EX)  # until it is closed, or the process is killed
            writer = PackWriter(where / PIXELS, file, lines, (count, height, width, channels or 3), channels is None)
            yield writer
            writer.finish()
        (where / LISTING).unlink(missing_ok=True)  # the listing goes first and comes last


class PackWriter:
    """Appends pictures to a pack. Its methods raise UserError where the disk cannot be written to.

    path: what error messages name.  file, lines: open for the pixels and the listing.
    shape: (most pictures, height, width, channels to begin with).  grows: whether 3 channels may become 4.
    """

    def __init__(self, path: Path, file: FileIO, lines: FileIO, shape: tuple[int, int, int, int], grows: bool) -> None:
        self._path, self._file, self._lines, self._grows = path, file, lines, grows
        self._most, self._height, self._width, self.channels = shape
        self.count = 0
        reserve(file.fileno(), path, self._end(self._most))
        file.seek(_START)

    def add(
        self,
        pixels: npt.NDArray[np.uint8],
        key: str,
        captions: Sequence[str],
        meta: Mapping[str, object],
        content: int,
        transparent: bool = True,
    ) -> None:
        """Append a picture.

        pixels: (H, W, C) uint8; where the pack has only 3 channels, the fourth of an opaque picture is left out.
        content: its `content_id`.  transparent: whether a pack that may grow must have 4 channels for it.
        """
        with self._errors():
            if pixels.shape[-1] > self.channels and self._grows and transparent:
                self._grow()
            _write(self._file, np.ascontiguousarray(pixels[..., : self.channels]).data)
            line = json.dumps({"key": key, "captions": captions, "meta": meta, "content": content})
            _write(self._lines, f"{line}\n".encode())
            self.count += 1

    def finish(self) -> None:
        """Write the true number of pictures and channels, and give back the space that was not needed."""
        with self._errors():
            self._file.truncate(self._end(self.count))
            self._file.seek(0)
            _write(self._file, _header((self.count, self._height, self._width, self.channels)))

    def _grow(self) -> None:
        """Give all pictures written so far an opaque fourth channel, in place: from the last to the first."""
        pixels = self._height * self._width
        self.channels = 4
        reserve(self._file.fileno(), self._path, self._end(self._most))
        for first in reversed(range(0, self.count, _CHUNK)):
            count = min(_CHUNK, self.count - first) * pixels
            self._file.seek(_START + 3 * pixels * first)
            colours = np.frombuffer(_read(self._file, 3 * count), np.uint8).reshape(count, 3)
            self._file.seek(_START + 4 * pixels * first)
            _write(self._file, np.concatenate([colours, np.full((count, 1), 255, np.uint8)], axis=1).data)
        self._file.seek(self._end(self.count))

    def _end(self, count: int) -> int:
        """The bytes of the pixel file with so many pictures."""
        return _START + count * self._height * self._width * self.channels

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self._path, error, self._end(self._most)) from error


def _write(file: FileIO, content: bytes | memoryview) -> None:
    """Write all of it: a single write may be cut short, and the next one then raises the reason."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _read(file: FileIO, size: int) -> bytes:
    """So many bytes from the file's position on."""
    parts = []
    while size > 0:
        parts.append(file.read(size))
        if not parts[-1]:
            raise OSError(errno.EIO, "the file has become shorter")
        size -= len(parts[-1])
    return b"".join(parts)


def _header(shape: tuple[int, int, int, int]) -> bytes:
    """The _START bytes of a .npy file of this shape that stand before its pixels."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    header = buffer.getvalue()
    assert len(header) == _START  # NumPy leaves space for any number of pictures
    return header


def _remove_abandoned(where: Path) -> None:
    """Remove what packing has left in a folder when its process was killed: such files can be large."""
    for name in (PIXELS, LISTING):
        for stray in where.glob(f".{name}.*.tmp"):
            with open(stray, "rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # another process is packing
                stray.unlink(missing_ok=True)
