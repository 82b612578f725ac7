"""Opening captioned pictures in one of three layouts, recognised by the files.

| layout | files |
|---|---|
| folder | x.png with its caption in x.txt (and x.json), at any depth |
| imagefolder | pictures and a metadata.jsonl or metadata.csv with `file_name` and `text` |
| webdataset | one .tar, or a folder of .tar shards |

The same pictures in all three give the same entries.
"""

from pathlib import Path

from unstir.data.entry import PICTURES, Collected, Entry, Problem, Source
from unstir.data.folder import METADATA, files_in, read_folder, read_imagefolder
from unstir.data.shards import read_shards
from unstir.errors import UserError

__all__ = ["Entry", "Problem", "Source", "open_source"]


def open_source(path: Path | str) -> Source:
    """Find the captioned pictures at `path`: a folder or a .tar file.

    What cannot be used (no caption, a path that leaves the folder, a second picture of one key) is left out and
    reported in `problems`. No picture is decoded here; `check` and `pack` do that.
    Raises UserError: no such path, a broken tar, unreadable metadata, or no usable picture.
    """
    path = Path(path)
    found = Collected()
    if path.is_file():
        if path.suffix.lower() != ".tar":
            raise UserError(f"{path} is neither a folder nor a .tar file; give a folder of captioned pictures")
        return read_shards([path], str(path), found)
    if not path.is_dir():
        raise UserError(f"there is no folder or .tar file at {path}; check the spelling")
    names = list(files_in(path, found))
    if any(name.rpartition("/")[2] in METADATA for name in names):
        return read_imagefolder(path, names, found)
    tars = [name for name in names if name.lower().endswith(".tar")]
    if tars:
        loose = sum(name.lower().endswith(tuple(f".{extension}" for extension in PICTURES)) for name in names)
        if loose:
            found.problem("(beside the shards)", f"{loose} picture file(s) beside the tar shards are left out")
        return read_shards([path / name for name in tars], str(path), found)
    return read_folder(path, names, found)
