"""Files are written whole or not at all, and a full disk is one sentence."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from unstir import files
from unstir.errors import UserError
from unstir.files import bytes_text, reserve, write_atomic


def test_text_bytes_and_functions(tmp_path):
    path = tmp_path / "new" / "file"
    for content, written in (("é", "é".encode()), (b"x", b"x"), (lambda temporary: temporary.write_text("f"), b"f")):
        write_atomic(path, content)
        assert path.read_bytes() == written
        assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def interrupted(temporary):
        temporary.write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_umask_holds_and_permissions_are_no_matter_of_space(tmp_path):
    write_atomic(tmp_path / "file", lambda temporary: temporary.chmod(0o600))
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "plain" / "file", "x")


BIG = {"weights": np.zeros(3_000_000, np.uint8)}


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        (b"x" * 2_000_000, "2.0 MB"),
        ("x" * 2_000_000, "2.0 MB"),
        (lambda temporary: temporary.write_bytes(b"x" * 2_000_000), r"more than \S+ (bytes|kB|MB)"),
        (lambda temporary: save_file(BIG, temporary), r"more than \S+ bytes"),  # its error is no OSError
    ],
)
def test_a_full_disk_is_one_sentence(tiny_disk, content, needs):
    path = tiny_disk / "run" / "file"
    write_atomic(path, "old")
    with pytest.raises(UserError, match=f"run has no room for file: it needs {needs} and .* are free .No space left"):
        write_atomic(path, content)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_space_is_checked_before_anything_is_written(tiny_disk):
    def never(temporary):
        raise AssertionError

    with pytest.raises(UserError, match=r"it needs 3\.0 MB and 1\.0 MB are free"):
        write_atomic(tiny_disk / "file", never, size=3_000_000)
    with open(tiny_disk / "other", "wb") as file:
        with pytest.raises(UserError, match=r"no room for other: it needs 3\.0 MB"):
            reserve(file.fileno(), tiny_disk / "other", 3_000_000)
        reserve(file.fileno(), tiny_disk / "other", 900_000)
        reserve(file.fileno(), tiny_disk / "other", 900_000)  # what is reserved already counts
        assert os.fstat(file.fileno()).st_blocks * 512 >= 900_000
    with pytest.raises(UserError, match="no room for third"):
        write_atomic(tiny_disk / "third", b"x" * 300_000)


def test_a_limit_on_the_size_of_files(tmp_path):
    """Like a quota: space is free, but not for this file."""
    code = """
import resource, sys
from pathlib import Path
from unstir.errors import UserError
from unstir.files import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 20_000)
except UserError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{tmp_path} has no room for file: it needs 20 kB and ")
    assert "(File too large); make room there or choose another folder" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_broken_disk_is_one_sentence(tmp_path, number):
    def breaks(temporary):
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=rf"^file \(2\.0 MB\) cannot be written to .*: {os.strerror(number)}; choose"):
        write_atomic(tmp_path / "file", breaks, size=2_000_000)


def test_a_file_system_that_cannot_reserve_is_no_error(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(files.os, "posix_fallocate", unsupported)
    with open(tmp_path / "file", "wb") as file:
        reserve(file.fileno(), tmp_path / "file", 1000)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9949, "9.9 kB"), (9960, "10 kB"), (999_600, "1.0 MB"),
     (30_000_000, "30 MB"), (2 * 10**9, "2.0 GB"), (5 * 10**15, "5000 TB")],
)  # fmt: skip
def test_bytes_for_people(count, text):
    assert bytes_text(count) == text
