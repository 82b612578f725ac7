import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.data.entry import LONGEST_CAPTION
from unstir.data.packing import pack
from unstir.data.sources import open_source
from unstir.errors import UserError

WORDS = {"a/cat": "a black cat", "a/dog": "a brown dog, running", "b/deep/fish": 'a fish, "gold"', "zebra": "a zébra"}


def png(shade=0, size=6, **save):
    pixels = np.random.default_rng([shade]).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **save)
    return file.getvalue()


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files if isinstance(files, list) else files.items():
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def pairs():
    files = {}
    for i, (key, words) in enumerate(WORDS.items()):
        files[f"{key}.png"] = png(i)
        files[f"{key}.txt"] = words + "\n"
        files[f"{key}.json"] = json.dumps({"number": i})
    return files


def layouts(root):
    pictures = {name: content for name, content in pairs().items() if name.endswith(".png")}
    rows = [{"file_name": f"{key}.png", "text": words, "number": i} for i, (key, words) in enumerate(WORDS.items())]
    yield write(root / "folder", pairs())
    yield write(root / "jsonl", {**pictures, "metadata.jsonl": "\n".join(map(json.dumps, rows)) + "\n"})
    items = list(pairs().items())
    write_tar(root / "shards" / "0001.tar", items[:6])
    write_tar(root / "shards" / "0000.tar", items[6:])
    yield root / "shards"
    yield write_tar(root / "one.tar", items)


def problems(path):
    return {problem.key: problem.what for problem in open_source(path).problems}


def test_three_layouts_give_the_same_pictures(tmp_path):
    sources = [open_source(path) for path in layouts(tmp_path)]
    assert [source.layout for source in sources] == ["folder", "imagefolder", "webdataset", "webdataset"]
    assert all(not source.problems for source in sources)
    facts = [[(e.key, e.caption, dict(e.meta), e.read()) for e in source.entries] for source in sources]
    assert facts[0] == facts[1] == facts[2] == facts[3]
    assert {key: words for key, words, _, _ in facts[0]} == WORDS
    packed = [pack(source, 4)[0] for source in sources]
    assert len({pictures.sha256() for pictures in packed}) == 1
    assert packed[0].meta == packed[1].meta == packed[2].meta


def three_layouts(root, samples):
    """The same in each layout. samples: (picture name, caption name, caption), in this order in the metadata."""
    pictures = {name: png(i) for i, (name, _, _) in enumerate(samples)}
    captions = {name: words for _, name, words in samples if name}
    rows = [json.dumps({"file_name": name, "text": words}) for name, _, words in samples]
    yield write(root / "folder", {**pictures, **captions})
    yield write(root / "imagefolder", {**pictures, "metadata.jsonl": "\n".join(rows)})
    yield write_tar(root / "one.tar", [*pictures.items(), *captions.items()])


def test_a_caption_that_is_too_long_is_named(tmp_path):
    most = "é" * (LONGEST_CAPTION - 2) + " \n x \n"  # 500 characters once it is tidied
    samples = [("most.png", "most.txt", most), ("more.png", "more.txt", "word " * 1500)]
    for path in three_layouts(tmp_path, samples):
        source = open_source(path)
        assert [entry.key for entry in source.entries] == ["most"]
        assert [(problem.key, problem.what) for problem in source.problems] == [
            ("more", "its caption has 7499 characters; shorten it to 500 at most")
        ]


def test_of_names_that_differ_in_case_all_layouts_keep_the_first(tmp_path):
    samples = [
        ("x.png", "x.txt", "words"),
        ("x.PNG", None, "words"),
        ("x.jpg", None, "words"),
        ("x.Png", None, "words"),
    ]
    for path in three_layouts(tmp_path, samples):
        source = open_source(path)
        if source.layout == "folder" and len(list(path.iterdir())) < 5:
            pytest.skip("this file system knows no upper and lower case")
        assert [(entry.key, entry.caption) for entry in source.entries] == [("x", "words")]
        assert source.entries[0].read() == png(1)  # x.PNG, the first in sorted order
        left_out = {name for problem in source.problems for name in ("x.Png", "x.jpg", "x.png") if name in problem.what}
        assert left_out == {"x.Png", "x.jpg", "x.png"}
        assert len(source.problems) == 3


def test_of_captions_that_differ_in_case_the_first_is_kept(tmp_path):
    files = {"x.png": png(), "x.txt": "lower", "x.TXT": "upper"}
    write(tmp_path / "folder", files)
    write_tar(tmp_path / "one.tar", files)
    if len(list((tmp_path / "folder").iterdir())) < 3:
        pytest.skip("this file system knows no upper and lower case")
    for path in (tmp_path / "folder", tmp_path / "one.tar"):
        source = open_source(path)
        assert source.entries[0].caption == "upper"
        (problem,) = source.problems
        assert problem.what.startswith("x.txt ")
        assert problem.what.endswith("has the name of an earlier file, apart from upper and lower case; it is left out")


def test_other_kinds_of_pictures_are_taken_where_there_is_no_plain_one(tmp_path):
    samples = [(f"{kind}.{kind}", f"{kind}.txt", kind) for kind in ("gif", "tif", "tiff", "avif")]
    samples += [("both.gif", None, "both"), ("both.png", "both.txt", "both")]
    for path in three_layouts(tmp_path, samples):
        source = open_source(path)
        assert [entry.key for entry in source.entries] == ["avif", "both", "gif", "tif", "tiff"]
        assert source.entries[1].read() == png(5)
        (problem,) = source.problems
        assert problem.key == "both"
        assert problem.what.startswith("both.gif has the same key")


def test_csv_keeps_other_columns_as_text(tmp_path):
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([["file_name", "text", "n"], ["x.png", 'two lines\nand a "quote"', "7"], ["sub/y.png", "why", ""]])
    write(tmp_path, {"x.png": png(), "sub/y.png": png(1), "metadata.csv": "\ufeff" + table.getvalue()})
    source = open_source(tmp_path)
    assert not source.problems
    assert [(e.key, e.caption, e.meta["n"]) for e in source.entries] == [
        ("sub/y", "why", ""),
        ("x", 'two lines and a "quote"', "7"),
    ]


def test_metadata_in_a_subfolder_counts_from_there(tmp_path):
    row = json.dumps({"file_name": "x.png", "text": "words"})
    write(tmp_path, {"train/x.png": png(), "train/metadata.jsonl": row})
    assert [entry.key for entry in open_source(tmp_path).entries] == ["train/x"]


def test_caption_comes_from_json_where_there_is_no_txt(tmp_path):
    files = [("k/x.webp", b"-"), ("k/x.json", '{"caption": "from json", "n": 1}'), ("y.jpg", b"-"), ("y.txt", "plain")]
    entries = open_source(write_tar(tmp_path / "t.tar", [*files, ("y.json", '{"caption": "ignored"}')])).entries
    assert [(e.key, e.caption, dict(e.meta)) for e in entries] == [
        ("k/x", "from json", {"n": 1}),
        ("y", "plain", {"caption": "ignored"}),
    ]


def test_folder_names_each_problem(tmp_path):
    write(
        tmp_path,
        {
            "good.png": png(),
            "good.txt": "good",
            "nocaption.png": png(),
            "empty.png": png(),
            "empty.txt": " \n",
            "nopicture.txt": "words",
            "latin.png": png(),
            "latin.txt": b"caf\xe9",
            "badjson.png": png(),
            "badjson.txt": "words",
            "badjson.json": "{",
            "listjson.png": png(),
            "listjson.json": "[1]",
            "deep.png": png(),
            "deep.json": "[" * 100_000,
            "twice.png": png(),
            "twice.jpg": png(),
            "twice.txt": "twice",
            "phone.heic": b"HEIC",
            "phone.txt": "from a phone",
            "lone.json": '{"caption": "words"}',
            "package.json": '{"name": "not a caption"}',
            ".hidden.png": png(),
            "notes.md": "nothing",
        },
    )
    source = open_source(tmp_path)
    assert [entry.key for entry in source.entries] == ["good", "twice"]
    found = {problem.key: problem.what for problem in source.problems}
    expected = {
        "nocaption": "no caption",
        "empty": "empty",
        "nopicture": "no picture",
        "latin": "UTF-8",
        "badjson": "JSON",
        "listjson": "JSON",
        "deep": "JSON",
        "twice": "same key",
        "phone": "convert",
        "lone": "no picture",
    }
    assert found.keys() == expected.keys()
    assert all(word in found[key] for key, word in expected.items())


def test_metadata_names_each_problem(tmp_path):
    rows = [
        {"file_name": "good.png", "text": "good"},
        {"file_name": "good.png", "text": "again"},
        {"file_name": "missing.png", "text": "not there"},
        {"file_name": "../secret.png", "text": "climbs"},
        {"file_name": str(tmp_path / "secret.png"), "text": "absolute"},
        {"file_name": "sub/../../secret.png", "text": "climbs"},
        {"file_name": "notext.png", "text": None},
        {"file_name": "page.html", "text": "no picture"},
        {"file_name": "nul\0.png", "text": "nul"},
        {"text": "no name"},
        {"file_name": 7, "text": "a number"},
    ]
    lines = "\n".join([*map(json.dumps, rows), "{broken", "[]", ""])
    write(tmp_path / "d", {"good.png": png(), "notext.png": png(), "unlisted.png": png(), "metadata.jsonl": lines})
    write(tmp_path, {"secret.png": png()})
    source = open_source(tmp_path / "d")
    assert [(entry.key, entry.caption) for entry in source.entries] == [("good", "good")]
    found = {problem.key: problem.what for problem in source.problems}
    assert "same key" in found["good"]
    assert "no such file" in found["missing"]
    assert "no such file" in found["nul\0"]
    for climbing in ("../secret.png", str(tmp_path / "secret.png"), "sub/../../secret.png"):
        assert "outside" in found[climbing]
    assert "no text" in found["notext"]
    assert "not a kind of picture" in found["page"]
    assert "file_name" in found["metadata.jsonl line 10"]
    assert "file_name" in found["metadata.jsonl line 11"]
    assert "JSON" in found["metadata.jsonl line 12"]
    assert "JSON" in found["metadata.jsonl line 13"]
    assert "not listed" in found["unlisted"]
    assert len(found) == 13


def test_metadata_beside_metadata(tmp_path):
    row = json.dumps({"file_name": "x.png", "text": "from jsonl"})
    write(tmp_path, {"x.png": png(), "metadata.jsonl": row, "metadata.csv": "file_name,text\nx.png,from csv\n"})
    assert open_source(tmp_path).entries[0].caption == "from jsonl"
    assert "left out" in problems(tmp_path)["metadata.csv"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("metadata.csv", "picture,words\nx.png,a\n", "file_name"),
        ("metadata.csv", b"file_name,text\nx.png,caf\xe9\n", "UTF-8"),
        ("metadata.jsonl", "", "not listed"),
    ],
)
def test_unusable_metadata(tmp_path, name, content, says):
    with pytest.raises(UserError, match=says):
        open_source(write(tmp_path, {"x.png": png(), name: content}))


def test_links_are_followed_inside_only(tmp_path):
    write(tmp_path / "out", {"x.png": png(), "x.txt": "secret"})
    root = write(tmp_path / "in", {"good.png": png(), "good.txt": "good", "other/copy.txt": "a copy"})
    (root / "leaves.png").symlink_to(tmp_path / "out" / "x.png")
    write(root, {"leaves.txt": "words"})
    (root / "folder").symlink_to(tmp_path / "out")
    (root / "broken.png").symlink_to(root / "nothing")
    (root / "other" / "copy.png").symlink_to(root / "good.png")
    (root / "again").symlink_to(root / "other")
    source = open_source(root)
    assert [entry.key for entry in source.entries] == ["good", "other/copy"]
    assert {p.key for p in source.problems if "leaves the folder" in p.what} == {"leaves", "folder", "broken"}
    write(root, {"metadata.jsonl": json.dumps({"file_name": "leaves.png", "text": "x"})})
    with pytest.raises(UserError):
        open_source(root)


def test_tar_names_each_problem(tmp_path):
    first = [
        ("./good.png", png()),
        ("./good.txt", "good"),
        ("../climbs.png", png()),
        ("/abs.png", png()),
        ("a/../../up.txt", "up"),
        ("nocaption.png", png()),
        ("nopicture.txt", "words"),
        ("dotted.name.png", png()),
        ("dotted.name.txt", "words"),
        ("twice.png", png()),
        ("twice.png", png()),
        ("twice.txt", "twice"),
        ("badjson.png", png()),
        ("badjson.json", "nope"),
        ("good.cls", "7"),
        ("._good.png", b"mac"),
    ]
    write_tar(tmp_path / "s0.tar", first)
    with tarfile.open(tmp_path / "s0.tar", "a") as tar:
        for kind, name in ((tarfile.SYMTYPE, "soft.png"), (tarfile.LNKTYPE, "hard.png")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    write_tar(
        tmp_path / "s1.tar", [("good.png", png(1)), ("good.txt", "again"), ("new.png", png()), ("new.txt", "new")]
    )
    source = open_source(tmp_path)
    assert [(entry.key, entry.caption) for entry in source.entries] == [
        ("good", "good"),
        ("new", "new"),
        ("twice", "twice"),
    ]
    assert source.entries[0].read() == png()
    found = {problem.key: problem.what for problem in source.problems}
    expected = {
        "../climbs.png": "outside",
        "/abs.png": "outside",
        "a/../../up.txt": "outside",
        "nocaption": "no caption",
        "nopicture": "no picture",
        "dotted": "dot in its name",
        "twice": "twice.png in s0.tar has the name of an earlier file",
        "badjson": "JSON",
        "soft": "link",
        "hard": "link",
        "good": "earlier shard",
    }
    assert found.keys() == expected.keys()
    assert all(word in found[key] for key, word in expected.items())
    assert not (tmp_path.parent / "climbs.png").exists()


def test_a_picture_beside_shards_is_mentioned(tmp_path):
    write_tar(tmp_path / "s.tar", [("x.png", png()), ("x.txt", "x")])
    write(tmp_path, {"preview.png": png()})
    assert [p.what for p in open_source(tmp_path).problems] == ["1 picture file(s) beside the tar shards are left out"]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.71, 0.9])
def test_truncated_tar(tmp_path, share):
    tar = write_tar(tmp_path / "s.tar", list(pairs().items()))
    content = tar.read_bytes()
    tar.write_bytes(content[: int(len(content.rstrip(b"\0")) * share)])
    with pytest.raises(UserError, match=r"s\.tar is cut off or damaged; copy or download it again"):
        open_source(tar)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_with_long_names_cut_off_anywhere(tmp_path, kind):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=kind) as tar:
        for name in ("é" * 130, "b" * 130):
            for ending, content in ((".png", png()), (".txt", b"words")):
                member = tarfile.TarInfo(name + ending)
                member.size, member.mtime = len(content), 1.5  # a fraction takes a PAX header
                tar.addfile(member, io.BytesIO(content))
    content = whole.getvalue()
    end = len(content.rstrip(b"\0"))
    for length in range(100, end, 100):
        tar = write(tmp_path, {"s.tar": content[:length]}) / "s.tar"
        with pytest.raises(UserError, match=r"s\.tar is cut off or damaged; copy or download it again"):
            open_source(tar)
    for length in range(512, end, 512):  # between two blocks
        tar = write(tmp_path, {"s.tar": content[:length]}) / "s.tar"
        with pytest.raises(UserError, match=r"s\.tar is cut off or damaged"):
            open_source(tar)


def test_tar_cut_exactly_between_members_and_damaged_tar(tmp_path):
    tar = write_tar(tmp_path / "s.tar", list(pairs().items()))
    content = tar.read_bytes()
    with tarfile.open(tar) as opened:
        third = opened.getmembers()[3].offset
    tar.write_bytes(content[:third])
    with pytest.raises(UserError, match="cut off"):
        open_source(tar)
    tar.write_bytes(content[:third] + b"\xff" * 512 + content[third + 512 :])
    with pytest.raises(UserError, match="cut off or damaged"):
        open_source(tar)


def test_tar_that_is_no_tar(tmp_path):
    with pytest.raises(UserError, match="not a readable tar"):
        open_source(write(tmp_path, {"x.tar": "hello " * 200}) / "x.tar")
    with pytest.raises(UserError, match=r"x\.tar is"):
        open_source(write(tmp_path, {"x.tar": b""}) / "x.tar")
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))
    with pytest.raises(UserError, match="compressed"):
        open_source(tmp_path / "x.tar")


def test_nothing_to_open(tmp_path):
    with pytest.raises(UserError, match=r"no folder or \.tar"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no pictures"):
        open_source(tmp_path)
    with pytest.raises(UserError, match="neither"):
        open_source(write(tmp_path, {"x.png": png()}) / "x.png")
    with pytest.raises(UserError, match=r"can be used; the first of 1 problems, x: it has no caption"):
        open_source(tmp_path)


def test_entry_that_goes_away_is_a_problem_when_packed(tmp_path):
    source = open_source(write(tmp_path, pairs()))
    Path(tmp_path / "zebra.png").unlink()
    pictures, broken = pack(source, 4)
    assert len(pictures) == 3
    assert [(problem.key, "cannot be read" in problem.what) for problem in broken] == [("zebra", True)]


def test_shard_that_shrinks_is_a_problem_when_packed(tmp_path):
    tar = write_tar(tmp_path / "s.tar", list(pairs().items()))
    source = open_source(tar)
    tar.write_bytes(tar.read_bytes()[:2000])
    pictures, broken = pack(source, 4)
    assert len(pictures) + len(broken) == 4
    assert broken
    assert "shorter" in broken[0].what
