"""Who was held out: by key, by cell, by the model's own notes; and lists that make no sense are refused."""

import pytest

from unstir.errors import UserError
from unstir.evaluate.run.held_out import cell_of, held_out_of_notes, read_held_out_list, split_held_out

KEYS = ["noto/cat", "twemoji/cat", "noto/dog", "lucide/cat"]
METAS = [
    {"concept": "cat", "family": "noto"},
    {"concept": "cat", "family": "twemoji"},
    {"concept": "dog", "family": "noto"},
    {"family": "lucide"},
]


@pytest.mark.parametrize(
    ("entries", "out"),
    [
        (["twemoji/cat"], [1]),
        (["cat|noto"], [0]),
        (["cat|noto", "noto/cat", "lucide/cat"], [0, 3]),
        ([], []),
    ],
)
def test_split(entries, out):
    found = split_held_out(KEYS, METAS, entries)
    assert found.held_out.tolist() == out
    assert found.seen.tolist() == [row for row in range(4) if row not in out]
    assert found.unknown == ()


def test_entries_that_fit_nothing_are_told():
    assert split_held_out(KEYS, METAS, ["noto/cat", "noto/cow", "cow|noto"]).unknown == ("cow|noto", "noto/cow")
    with pytest.raises(UserError, match="none of the 4 pictures"):
        split_held_out(KEYS, METAS, ["noto/cow"])
    with pytest.raises(UserError, match="covers every picture"):
        split_held_out(KEYS, METAS, KEYS)


def test_a_cell_needs_both_words():
    assert cell_of(METAS[0]) == "cat|noto"
    assert cell_of(METAS[3]) is None


def test_read_list(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("  a/b  \n\n c d \n", encoding="utf-8")
    assert read_held_out_list(path) == ["a/b", "c d"]
    with pytest.raises(UserError, match="there is no list"):
        read_held_out_list(tmp_path / "none.txt")
    path.write_text("\n \n")
    with pytest.raises(UserError, match="names no picture"):
        read_held_out_list(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_held_out_list(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_held_out_list(tmp_path)


def test_noted():
    assert held_out_of_notes({}) == []
    assert held_out_of_notes({"held_out": ["a", ["cat", "noto"]]}) == ["a", "cat|noto"]
    for wrong in ("icons", [3], [["cat"]], {"a": 1}):
        with pytest.raises(UserError, match="held_out"):
            held_out_of_notes({"held_out": wrong})
