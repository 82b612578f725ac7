"""The webdataset layout: tar shards in which files that share a key are one sample. Nothing is unpacked to disk."""

import tarfile
from functools import partial
from pathlib import Path

from unstir.data.entry import (
    OTHER_PICTURES,
    PICTURES,
    Collected,
    Samples,
    Source,
    add_sample,
    group_file,
    leaves_folder,
)
from unstir.errors import UserError

_BLOCK = 512


def read_shards(shards: list[Path], name: str, found: Collected) -> Source:
    """The samples of all shards. The key is the member's name up to the first dot of its last part (webdataset's rule).

    The index of each tar is read once; an entry's `read` opens the tar and reads at the member's offset.
    Raises UserError for a tar that is cut off, compressed or no tar at all.
    """
    for shard in shards:
        samples: Samples = {}
        for member in sorted(_members(shard), key=_plain_name):
            _group_member(shard, member, samples, found)
        taken = samples.keys() & found.entries.keys()
        for key, parts in samples.items():
            if key in taken:
                found.problem(key, f"{shard.name} has a key that an earlier shard has too; the later one is left out")
            else:
                add_sample(found, key, parts)
    return found.source(name, "webdataset")


def read_span(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of `path` from `offset`. Opens the file anew, so threads do not share a position. Raises OSError."""
    with open(path, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise OSError(f"{path} has become shorter since its index was read")
    return content


def _plain_name(member: tarfile.TarInfo) -> str:
    """The member's name as `files_in` would give it: "x.png" for "./x.png"."""
    return "/".join(part for part in member.name.split("/") if part not in ("", "."))


def _group_member(shard: Path, member: tarfile.TarInfo, samples: Samples, found: Collected) -> None:
    """Put one member with the others of its key, or name what is wrong with it."""
    folder, slash, base = _plain_name(member).rpartition("/")
    stem, _, extension = base.partition(".")
    extension = extension.lower()
    if member.isdir() or not stem or "__MACOSX" in folder:  # no stem: a hidden file such as "._x.png"
        return
    if extension.rpartition(".")[2] not in PICTURES | OTHER_PICTURES | {"txt", "json"}:
        return
    key = folder + slash + stem
    if leaves_folder(member.name):
        found.problem(member.name, f"{shard.name} names a path outside of the folder; it is not read")
    elif not member.isreg() or member.issparse():
        found.problem(key, f"{member.name} in {shard.name} is a link or a sparse file; it is not read")
    else:
        read = partial(read_span, shard, member.offset_data, member.size)
        group_file(found, samples, key, extension, f"{member.name} in {shard.name}", read)


def _members(shard: Path) -> list[tarfile.TarInfo]:
    """The index of a tar. Raises UserError if the tar is broken; a tar cut between two members counts as broken."""
    try:
        with tarfile.open(shard, "r:") as tar:
            members = tar.getmembers()
            end = tar.offset
        with open(shard, "rb") as file:
            file.seek(end)
            # tarfile takes a damaged or missing header for the end. The real end is a block of zeros.
            whole = file.read(_BLOCK) == bytes(_BLOCK)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        compressed = _compressed(shard)
        if compressed:
            raise UserError(f"{shard} is compressed ({compressed}); unpack it to a plain .tar first") from error
        if not _begins_as_tar(shard):
            raise UserError(f"{shard} is not a readable tar file ({error}); write or copy it again") from error
        whole = False
    if not whole:
        raise UserError(f"{shard} is cut off or damaged; copy or download it again")
    return members


def _begins_as_tar(path: Path) -> bool:
    """Whether the file's first header is one, or is cut off itself. A tar that fails further on is cut off."""
    try:
        with open(path, "rb") as file:
            header = file.read(_BLOCK)
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except OSError:
        return False
    except tarfile.HeaderError:
        return 0 < len(header) < _BLOCK
    return True


def _compressed(path: Path) -> str:
    """The name of the compression the file begins like, or ""."""
    try:
        start = read_span(path, 0, 6)
    except OSError:
        return ""
    magics = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
    return next((name for magic, name in magics.items() if start.startswith(magic)), "")
