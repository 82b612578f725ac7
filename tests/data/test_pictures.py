import fcntl
import io
import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unstir.data import pack_files
from unstir.data.check import check_source
from unstir.data.content import content_id, content_ids
from unstir.data.entry import Entry, Problem, Source
from unstir.data.order import order
from unstir.data.packing import check_and_pack, pack
from unstir.data.pictures import Pictures
from unstir.errors import UserError


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def source(*pictures):
    entries = [Entry(f"k{i}", f"caption {i}", {"i": i}, partial(bytes, data)) for i, data in enumerate(pictures)]
    return Source("test", "folder", entries, [])


def noise(seed, channels=3, side=8):
    return np.random.default_rng([seed]).integers(0, 255, (side, side, channels), dtype=np.uint8)


OPAQUE = np.dstack([noise(9), np.full((8, 8), 255)]).astype(np.uint8)


def test_channels_follow_the_transparency():
    assert pack(source(png(noise(0)), png(OPAQUE)), 8)[0].pixels.shape == (2, 8, 8, 3)
    mixed = pack(source(png(noise(0)), png(noise(1, 4))), 8)[0]
    assert mixed.pixels.shape == (2, 8, 8, 4)
    assert np.array_equal(mixed.pixels[0], np.dstack([noise(0), np.full((8, 8), 255)]))
    assert pack(source(png(noise(1, 4))), 8, channels=3)[0].pixels.shape == (1, 8, 8, 3)
    assert pack(source(png(noise(1))), 8, channels=4)[0].pixels.shape == (1, 8, 8, 4)


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_on_disk_as_in_memory(tmp_path, channels):
    pictures = source(*(png(noise(i)) for i in range(5)), b"broken", png(noise(6)))
    memory, problems = pack(pictures, 6, channels)
    disk, same_problems = pack(pictures, 6, channels, where=tmp_path / "pack", workers=1)
    assert [p.key for p in problems] == [p.key for p in same_problems] == ["k5"]
    assert "cannot be decoded" in problems[0].what
    assert isinstance(disk.pixels, np.memmap)
    assert np.array_equal(disk.pixels, memory.pixels)
    assert (disk.captions, disk.keys, disk.meta) == (memory.captions, memory.keys, memory.meta)
    assert disk.sha256() == memory.sha256() == Pictures.load(tmp_path / "pack").sha256()
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["pictures.jsonl", "pixels.npy"]
    assert memory.keys == ["k0", "k1", "k2", "k3", "k4", "k6"]


def test_packing_again_replaces(tmp_path):
    first, _ = pack(source(png(noise(0)), png(noise(1))), 8, where=tmp_path)
    before = np.array(first.pixels)
    second, _ = pack(source(png(noise(2))), 8, where=tmp_path)
    assert len(second) == 1
    assert np.array_equal(first.pixels, before)  # what is still mapped keeps the old file


def test_captioner_and_progress():
    calls = []
    pictures, _ = pack(
        source(png(noise(0)), b"broken", png(noise(1))),
        8,
        captioner=lambda entry: (entry.caption, f"also {entry.key}"),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert pictures.captions == [("caption 0", "also k0"), ("caption 2", "also k2")]
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_packed(tmp_path):
    with pytest.raises(UserError, match="no picture of test can be decoded; the first, k0: the picture cannot"):
        pack(source(b"broken"), 8, where=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no pictures"):
        pack(source(), 8, where=tmp_path)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        pack(source(png(noise(0))), 0)
    with pytest.raises(ValueError, match="3 or 4 channels"):
        pack(source(png(noise(0))), 8, channels=1)
    for where in (None, tmp_path):
        with pytest.raises(ValueError, match="no caption for k0"):
            pack(source(png(noise(0))), 8, where=where, captioner=lambda entry: ())


def test_load_complains_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no complete pack"):
        Pictures.load(tmp_path)
    pack(source(png(noise(0)), png(noise(1))), 8, where=tmp_path)
    listing, pixels = tmp_path / "pictures.jsonl", tmp_path / "pixels.npy"
    good_listing, good_pixels = listing.read_text(), pixels.read_bytes()
    for bad in ("{", "[]\n[]\n", good_listing.splitlines()[0] + "\n", '{"key": 1}\n' * 2):
        listing.write_text(bad)
        with pytest.raises(UserError, match="damaged"):
            Pictures.load(tmp_path)
    listing.write_text(good_listing)
    for bad in (b"", good_pixels[:200], b"x" * 300):
        pixels.write_bytes(bad)
        with pytest.raises(UserError, match="damaged"):
            Pictures.load(tmp_path)
    np.save(pixels, np.array([{"a": 1}, {"b": 2}], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        Pictures.load(tmp_path)
    pixels.write_bytes(good_pixels)
    assert len(Pictures.load(tmp_path)) == 2
    listing.unlink()
    with pytest.raises(UserError, match="no complete pack"):
        Pictures.load(tmp_path)


def test_a_crash_between_the_two_files_does_not_pair_old_with_new(tmp_path, monkeypatch):
    pack(source(png(noise(0)), png(noise(1))), 8, where=tmp_path)

    def crash(_, path):
        if path.name == "pictures.jsonl":
            raise KeyboardInterrupt
        replace(_, path)

    replace = os.replace
    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        pack(source(png(noise(2)), png(noise(3))), 8, where=tmp_path)
    with pytest.raises(UserError, match="no complete pack"):
        Pictures.load(tmp_path)


def test_one_pass_gives_the_report_and_the_pictures(tmp_path):
    read = []

    def entry(i, data):
        return Entry(f"k{i}", f"caption {i}", {}, lambda: read.append(i) or data)

    pictures = [png(noise(0)), b"broken", png(noise(1, 4)), png(noise(0)), png(noise(2, side=40))]
    told = Source("test", "folder", [entry(i, data) for i, data in enumerate(pictures)], [Problem("z", "left out")])
    report, packed = check_and_pack(told, 8, tmp_path)
    assert sorted(read) == [0, 1, 2, 3, 4]  # each once
    assert report == check_source(told, size=8)
    assert [problem.key for problem in report.problems] == ["z", "k1"]
    assert report.shorter_side == (8, 8, 40)
    assert (report.transparent, report.duplicates.keys) == (1, ("k0", "k3"))
    again, problems = pack(told, 8)
    assert again.sha256() == packed.sha256()
    assert [problem.key for problem in problems] == ["k1"]


def test_workers_change_nothing(tmp_path):
    told = source(*(png(noise(i, 4 if i == 30 else 3)) for i in range(40)), b"broken", png(noise(3)))
    results = [check_and_pack(told, 8, where, workers=n) for n, where in ((1, None), (7, None), (3, tmp_path))]
    assert len({pictures.sha256() for _, pictures in results}) == 1
    assert results[0][0] == results[1][0] == results[2][0]


@pytest.mark.parametrize("first", [0, 1, 299])
def test_a_transparent_picture_late_in_the_set(tmp_path, monkeypatch, first):
    """The pictures before it, already on disk with 3 channels, get a fourth."""
    monkeypatch.setattr(pack_files, "_CHUNK", 7)
    pictures = [noise(i, 4 if i == first or i == 250 else 3) for i in range(300)]
    disk, _ = pack(source(*map(png, pictures)), 8, where=tmp_path)
    expected = [one if one.shape[2] == 4 else np.dstack([one, np.full((8, 8), 255)]) for one in pictures]
    assert disk.pixels.shape == (300, 8, 8, 4)
    for got, want in zip(disk.pixels, expected, strict=True):
        seen = want[..., 3:] > 0
        assert np.array_equal(got[..., 3], want[..., 3])
        assert (abs(got[..., :3].astype(int) - want[..., :3]) * (want[..., 3:] == 255) == 0).all()
        assert (got[..., :3] * ~seen == 0).all()
    assert np.array_equal(disk.content_ids, content_ids(disk.pixels))


# Content ids


def test_content_ids_are_equal_where_the_pixels_are(tmp_path):
    memory, _ = pack(source(*(png(noise(i)) for i in (0, 1, 0, 2, 1, 0))), 8)
    ids = memory.content_ids
    assert (ids.shape, ids.dtype) == ((6,), np.int64)
    assert [ids.tolist().index(one) for one in ids] == [0, 1, 0, 3, 1, 0]
    assert (ids >= 0).all()
    disk, _ = pack(source(*(png(noise(i)) for i in (0, 1, 0, 2, 1, 0))), 8, where=tmp_path)
    assert np.array_equal(disk.content_ids, ids)
    assert np.array_equal(disk.take([3, 0]).content_ids, ids[[3, 0]])
    assert np.array_equal(content_ids(np.asarray(disk.pixels)), ids)  # what is stored is what the pixels give
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_content_ids_of_packs_without_them_are_computed_once(tmp_path, monkeypatch):
    pictures, _ = pack(source(*(png(noise(i)) for i in (0, 1, 0))), 8, where=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "pictures.jsonl").read_text().splitlines()]
    for row in rows:
        del row["content"]
    (tmp_path / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    old = Pictures.load(tmp_path)
    assert old.ids is None
    assert np.array_equal(old.content_ids, pictures.content_ids)
    monkeypatch.setattr("unstir.data.pictures.content_ids", None)
    assert np.array_equal(old.content_ids, pictures.content_ids)


def test_content_ids_depend_on_pixels_alone():
    opaque = noise(0)
    assert content_id(opaque) == content_id(np.dstack([opaque, np.full((8, 8), 255, np.uint8)]))
    thin = np.dstack([opaque, np.full((8, 8), 254, np.uint8)])
    others = [opaque, thin, opaque[:, ::-1], opaque.reshape(4, 16, 3), noise(1)]
    assert len({content_id(one) for one in others}) == 5
    assert content_id(opaque) == 1360800235079734373, "stored in packs: it may never change"
    with pytest.raises(ValueError, match="ids of the shape"):
        Pictures(opaque[None], [("c",)], ["k"], [{}], np.zeros(2, np.int64))


# A full disk


def free_space(folder):
    return os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize


def test_a_pack_that_does_not_fit_is_refused_before_it_is_made(tiny_disk):
    first, _ = pack(source(png(noise(0))), 8, where=tiny_disk / "pack")
    calls = []
    with pytest.raises(UserError, match=r"pack has no room for pixels\.npy: it needs 1\.2 MB and 1\.0 MB are free"):
        pack(source(*[png(noise(0))] * 100), 64, where=tiny_disk / "pack", progress=lambda *_: calls.append(1))
    assert calls == []
    assert Pictures.load(tiny_disk / "pack").sha256() == first.sha256()
    assert len(list((tiny_disk / "pack").iterdir())) == 2


def test_a_disk_that_fills_up_while_packing(tiny_disk):
    """A transparent picture makes the pack larger than it was thought to be."""
    pictures = [png(noise(i)) for i in range(70)]
    with pytest.raises(UserError, match=r"no room for pixels\.npy: it needs 1\.1 MB"):
        pack(source(*pictures[:69], png(noise(1, 4))), 64, where=tiny_disk / "pack")
    assert list((tiny_disk / "pack").iterdir()) == []
    pack(source(*pictures), 64, where=tiny_disk / "pack")  # 860 kB
    with pytest.raises(UserError, match=r"no room for pixels\.npy"):  # the old pack stays until the new one is there
        pack(source(*pictures), 64, where=tiny_disk / "pack")
    assert len(Pictures.load(tiny_disk / "pack")) == 70


def test_a_disk_that_cannot_reserve_and_fills_up(tiny_disk, monkeypatch):
    monkeypatch.setattr(pack_files, "reserve", lambda *_: None)
    with pytest.raises(UserError, match=r"no room for pixels\.npy: it needs 1\.2 MB and .* free .No space left"):
        pack(source(*[png(noise(0))] * 100), 64, where=tiny_disk)
    assert list(tiny_disk.iterdir()) == []
    assert free_space(tiny_disk) > 900_000
    words = "w" * 100_000
    pictures = Pictures(np.zeros((20, 2, 2, 3), np.uint8), [(words,)] * 20, ["k"] * 20, [{}] * 20)
    with pytest.raises(UserError, match="no room for pi"):  # the captions are too many
        pictures.save(tiny_disk)
    assert list(tiny_disk.iterdir()) == []


def test_packing_with_a_limit_on_file_sizes(tmp_path):
    """As a quota: a memory map ended in SIGBUS. In a process of its own, since that one could not be caught."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from unstir.data.pictures import Pictures
from unstir.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
pictures = Pictures(np.zeros((50, 32, 32, 3), np.uint8), [("c",)] * 50, ["k"] * 50, [{}] * 50)
try:
    pictures.save(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{tmp_path} has no room for pixels.npy: it needs 154 kB and ")
    assert list(tmp_path.iterdir()) == []


def test_space_is_reserved_and_given_back(tmp_path):
    seen = []

    def progress(done, _):
        (temporary,) = tmp_path.glob(".pixels.npy.*")
        seen.append(temporary.stat().st_blocks * 512)

    pack(source(png(noise(0)), *[b"broken"] * 99), 64, where=tmp_path, progress=progress)
    assert seen[0] >= 100 * 64 * 64 * 3
    assert (tmp_path / "pixels.npy").stat().st_size == 128 + 64 * 64 * 3


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in (".pixels.npy.1-ab.tmp", ".pictures.jsonl.1-ab.tmp", ".pixels.npy.2-cd.tmp", ".other.1-ab.tmp"):
        (tmp_path / name).write_text("x")
    with open(tmp_path / ".pixels.npy.2-cd.tmp") as packing:
        fcntl.flock(packing, fcntl.LOCK_EX)  # another process is at work
        pack(source(png(noise(0))), 8, where=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"pixels.npy", "pictures.jsonl", ".pixels.npy.2-cd.tmp", ".other.1-ab.tmp"}


def test_headers_are_equally_long():
    for shape in ((0, 1, 1, 3), (10**9, 1024, 1024, 4)):
        header = pack_files._header(shape)
        assert len(header) == 128
        assert np.lib.format.read_magic(io.BytesIO(header)) == (1, 0)


def test_take_and_save(tmp_path):
    pictures, _ = pack(source(*(png(noise(i)) for i in range(4))), 8)
    some = pictures.take([2, 0, 2])
    assert some.keys == ["k2", "k0", "k2"]
    assert [meta["i"] for meta in some.meta] == [2, 0, 2]
    assert np.array_equal(some.pixels[0], noise(2))
    some.save(tmp_path)
    assert Pictures.load(tmp_path).sha256() == some.sha256()
    assert len(pictures.take([])) == 0


def test_the_hash_sees_everything_but_meta():
    def make(pixels=0, key="k", caption="c", meta=0, shape=(1, 2, 4, 3)):
        return Pictures(np.full(shape, pixels, np.uint8), [(caption,)], [key], [{"m": meta}]).sha256()

    assert make() == make(meta=1)
    assert len({make(), make(pixels=1), make(key="x"), make(caption="x"), make(shape=(1, 4, 2, 3))}) == 5
    assert len(make()) == 64


def test_pictures_that_do_not_go_together():
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    for arguments in (
        (pixels[0], [("c",)], ["k"], [{}]),
        (pixels.astype(float), [("c",)], ["k"], [{}]),
        (pixels[..., :1], [("c",)], ["k"], [{}]),
        (pixels, [("c",), ("d",)], ["k"], [{}]),
        (pixels, [()], ["k"], [{}]),
    ):
        with pytest.raises(ValueError, match=r"pixels|caption"):
            Pictures(*arguments)


def test_odd_words_survive(tmp_path):
    words = 'two\nlines \u2028 "quoted" ☃ 日本'
    Pictures(np.zeros((1, 2, 2, 3), np.uint8), [(words,)], [words], [{"w": words}]).save(tmp_path)
    got = Pictures.load(tmp_path)
    assert (got.captions, got.keys, got.meta) == ([(words,)], [words], [{"w": words}])
    assert len((tmp_path / "pictures.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "pictures.jsonl").read_text())["key"] == words


@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 2**70),
    seen=st.integers(0, 300),
    a=st.integers(0, 100),
    b=st.integers(0, 100),
)
def test_order_can_be_cut_anywhere(n, seed, seen, a, b):
    whole = order(n, seed, seen, a + b)
    assert whole.dtype == np.int64
    assert np.array_equal(whole, np.concatenate([order(n, seed, seen, a), order(n, seed, seen + a, b)]))
    assert np.array_equal(whole, order(n, seed, 0, seen + a + b)[seen:])


@given(n=st.integers(1, 60), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 10**9))
def test_every_epoch_is_a_permutation(n, seed, epoch):
    assert sorted(order(n, seed, epoch * n, n)) == list(range(n))


def test_order_differs_by_seed_and_epoch_and_is_fair():
    epochs = order(1000, 5, 0, 3000).reshape(3, 1000)
    others = [*epochs, order(1000, 6, 0, 1000)]
    for i, one in enumerate(others):
        for other in others[:i]:
            assert (one == other).mean() < 0.01
    firsts = np.bincount([order(4, seed, 0, 1)[0] for seed in range(4000)], minlength=4)
    assert abs(firsts - 1000).max() < 130  # 4.7 standard deviations


def test_order_is_frozen():
    # A run is continued to the very same bits, with another NumPy too: this may never change.
    assert order(8, 0, 0, 16).tolist() == FROZEN


FROZEN = [0, 2, 1, 5, 4, 3, 6, 7, 5, 3, 7, 2, 4, 1, 0, 6]


def test_order_is_not_changed_by_writing_into_it():
    order(5, 1, 0, 5)[:] = 0
    assert sorted(order(5, 1, 0, 5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", [(0, 0, 0, 1), (1, -1, 0, 1), (1, 0, -1, 1), (1, 0, 0, -1)])
def test_order_refuses_nonsense(bad):
    with pytest.raises(ValueError, match="order needs"):
        order(*bad)
