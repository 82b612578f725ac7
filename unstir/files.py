"""Writing files so that a crash leaves either the old file or the new one, never half of one."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, sync it to disk and rename it over `path`.

    If the block raises, `path` stays as it was and the temporary file is removed.
    Rename alone is not enough: without the two syncs a power cut can leave an empty file (see `man 2 fsync`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.touch()
    mode = temporary.stat().st_mode  # as the user's umask wants it; some writers make files private
    try:
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_atomic(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write `content` to `path` atomically: bytes, text (UTF-8), or a function that writes the file it is given."""
    with replacing(path) as temporary:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
