"""Writing files: atomically, and with one sentence where the disk is full."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unstir.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN = (errno.EIO, errno.EROFS)


@contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, sync it to disk and rename it over `path`.

    If the block raises, `path` stays as it was and the temporary file is removed.
    Rename alone is not enough: without the two syncs a power cut can leave an empty file (see `man 2 fsync`).
    size: bytes that will be written, if known; too little space is noticed before anything is.
    Raises UserError where the disk is full, broken or read-only, a quota is used up, or a file may not be so large.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if size is not None and size > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        temporary.touch()
        mode = temporary.stat().st_mode  # as the user's umask wants it; some writers make files private
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        written = temporary.stat().st_size if temporary.exists() else 0
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        if _errno(error) in (*_FULL, *_BROKEN):
            raise write_error(path, error, size, written) from error
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_atomic(path: Path, content: bytes | str | Callable[[Path], object], size: int | None = None) -> None:
    """Write `content` to `path` atomically.

    content: bytes, text (written as UTF-8), or a function that writes the file it is given.
    size: bytes that such a function will write, if known.
    Raises UserError as `replacing` does.
    """
    if isinstance(content, str):
        content = content.encode()
    with replacing(path, len(content) if isinstance(content, bytes) else size) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(temporary)


def reserve(file: int, path: Path, size: int) -> None:
    """Reserve disk space for an open file, so that writing its first `size` bytes does not fail later.

    file: the file descriptor.  path: what an error message names.
    Raises UserError where there is too little space.
    """
    try:
        if size - os.fstat(file).st_blocks * 512 > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate") and size > 0:
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in _FULL:
            raise write_error(path, error, size) from error
        # The file system cannot reserve: writing will show whether there is space.


def write_error(path: Path, error: BaseException, size: int | None = None, written: int = 0) -> UserError:
    """The sentence for a file that cannot be written: the folder, the bytes wanted and those free, and the cause.

    size: bytes that the file needs, if known.  written: bytes that were written before the error.
    """
    needs = bytes_text(size) if size is not None else f"more than {bytes_text(written)}"
    number = _errno(error)
    cause = os.strerror(number) if number is not None else str(error)
    if number not in _FULL:
        return UserError(f"{path.name} ({needs}) cannot be written to {path.parent}: {cause}; choose another folder")
    free = bytes_text(shutil.disk_usage(path.parent).free) if path.parent.is_dir() else "nothing"
    return UserError(
        f"{path.parent} has no room for {path.name}: it needs {needs} and {free} are free ({cause}); "
        "make room there or choose another folder"
    )


def bytes_text(count: int) -> str:
    """A number of bytes for people: 512 bytes, 1.5 kB, 30 MB."""
    if count < 1000:
        return f"{count} bytes"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def _errno(error: BaseException) -> int | None:
    """The number of the system's error; safetensors gives it in its message alone: "... (os error 28)"."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
