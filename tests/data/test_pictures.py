import io
import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unstir.data.entry import Entry, Source
from unstir.data.order import order
from unstir.data.pictures import Pictures, fingerprint, pack
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
    assert fingerprint(disk) == fingerprint(memory) == fingerprint(Pictures.load(tmp_path / "pack"))
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
    with pytest.raises(UserError, match="Not one picture"):
        pack(source(b"broken"), 8, where=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no pictures"):
        pack(source(), 8, where=tmp_path)
    with pytest.raises(ValueError, match="pack needs"):
        pack(source(png(noise(0))), 0)
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

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unstir.data.pictures.write_atomic", crash)
    with pytest.raises(KeyboardInterrupt):
        pack(source(png(noise(2)), png(noise(3))), 8, where=tmp_path)
    with pytest.raises(UserError, match="no complete pack"):
        Pictures.load(tmp_path)


def test_take_and_save(tmp_path):
    pictures, _ = pack(source(*(png(noise(i)) for i in range(4))), 8)
    some = pictures.take([2, 0, 2])
    assert some.keys == ["k2", "k0", "k2"]
    assert [meta["i"] for meta in some.meta] == [2, 0, 2]
    assert np.array_equal(some.pixels[0], noise(2))
    some.save(tmp_path)
    assert fingerprint(Pictures.load(tmp_path)) == fingerprint(some)
    assert len(pictures.take([])) == 0


def test_fingerprint_sees_everything_but_meta():
    def make(pixels=0, key="k", caption="c", meta=0, shape=(1, 2, 4, 3)):
        return fingerprint(Pictures(np.full(shape, pixels, np.uint8), [(caption,)], [key], [{"m": meta}]))

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
