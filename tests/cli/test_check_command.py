"""unstir check: at most ten problems on the screen, all of them in a file."""

import pytest
from PIL import Image


@pytest.fixture
def uncaptioned(tmp_path, monkeypatch):
    """A folder of 214 pictures without captions and one with; the test runs in its parent."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    for i in range(215):
        Image.new("RGB", (40, 40), (i, 0, 0)).save(folder / f"p{i:03}.png")
    (folder / "p000.txt").write_text("a beach")
    monkeypatch.chdir(tmp_path)
    return folder


def test_many_problems_go_to_a_file(call, uncaptioned, tmp_path):
    code, printed, _ = call("check", "holiday")
    lines = printed.splitlines()
    assert code == 0
    assert lines[0] == "holiday (folder): 1 of 1 captioned pictures can be used."
    assert sum("it has no caption" in line for line in lines) == 10
    assert lines[-2:] == ["… and 204 more problems", "All 214 problems are in check-holiday.txt."]
    assert len(lines) < 20
    written = (tmp_path / "check-holiday.txt").read_text().splitlines()
    assert written == [f"p{i:03}: it has no caption; write one to p{i:03}.txt" for i in range(1, 215)]
    assert call("check", f"{uncaptioned}/")[1].splitlines()[-1] == "All 214 problems are in check-holiday.txt."
    assert call("check", "./holiday/../holiday", "--problems", "all.txt")[1].endswith(
        "All 214 problems are in all.txt.\n"
    )
    assert (tmp_path / "all.txt").read_text().splitlines() == written


def test_few_problems_are_printed_alone(call, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "All" not in call("check", photos)[1]
    assert list(tmp_path.iterdir()) == []
    assert "All 2 problems are in few.txt." in call("check", photos, "--problems", "few.txt")[1]
    assert len((tmp_path / "few.txt").read_text().splitlines()) == 2


def test_a_file_that_cannot_be_written(call, refused, uncaptioned, tmp_path):
    assert "--problems . is a folder; name a file" in refused("check", "holiday", "--problems", ".")
    code, _, said = call("check", "digits", "--problems", "none.txt")
    assert (code, said) == (0, "digits: a built-in set of 1438 pictures, nothing to check\n")
