"""The pictures at a path: which are found, which are left out, and that each vector is that of its picture."""

import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, features

from unstir.data.entry import OTHER_PICTURES, PICTURES
from unstir.errors import UserError
from unstir.interop.clip import LoadedClip
from unstir.interop.image_index import embed_images, list_images, thumbnail
from unstir.models.clip import Clip, ClipConfig
from unstir.models.pixels import to_model
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def clip():
    tokenizer = Tokenizer.train(["a red disc", "a blue box"], 280)
    vision = VisionConfig(16, 4, patch=4, width=32, depth=1, heads=2, mlp=64)
    text = ClipTextConfig(len(tokenizer), length=16, width=32, depth=1, heads=2, mlp=64)
    model = Clip(ClipConfig(vision, text, width=24), tokenizer)
    initialise(model, 0)
    return LoadedClip(model, "tiny")


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8))


READABLE = [extension for extension in sorted(PICTURES) if extension != "avif" or features.check("avif")]


def test_every_kind_that_data_sets_may_have_is_indexed(clip, tmp_path):
    for i, extension in enumerate(READABLE):
        picture(i).save(tmp_path / f"{i}.{extension}")
        (tmp_path / f"{i}.txt").write_text(f"picture {i}")
    for extension in OTHER_PICTURES - PICTURES:
        (tmp_path / f"other.{extension}").write_bytes(b"")
    index = embed_images(clip, tmp_path)
    assert [entry.key for entry in index.entries] == [f"{i}.{extension}" for i, extension in enumerate(READABLE)]
    assert [entry.caption for entry in index.entries] == [f"picture {i}" for i in range(len(READABLE))]
    assert index.vectors.shape == (len(READABLE), 24)
    assert sorted(problem.key for problem in index.problems) == sorted(
        f"other.{extension}" for extension in OTHER_PICTURES - PICTURES
    )
    assert {problem.what for problem in index.problems} == {"this kind of picture is not read; convert it to PNG"}
    assert thumbnail(index.entries[0], 12).shape == (12, 12, 4)


def test_vectors_and_entries_go_together(clip, tmp_path):
    """More than one batch, with a broken file in the middle."""
    for i in range(40):
        picture(i).save(tmp_path / f"{i:02}.png")
    (tmp_path / "20.png").write_bytes(b"broken")
    seen = []
    index = embed_images(clip, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 40) for i in range(40)]
    assert [entry.key for entry in index.entries] == [f"{i:02}.png" for i in range(40) if i != 20]
    assert [entry.caption for entry in index.entries] == [""] * 39
    assert [problem.key for problem in index.problems] == ["20.png"]
    for row in (0, 20, 38):
        pixels = clip.pixels(Image.open(tmp_path / index.entries[row].key))
        with torch.no_grad():
            alone = clip.model.embed_pictures(to_model(torch.from_numpy(pixels.copy())[None]))
        torch.testing.assert_close(index.vectors[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_shards_and_single_files(tmp_path):
    picture(0).save(tmp_path / "x.png")
    assert [entry.key for entry in list_images(tmp_path / "x.png")[0]] == [str(tmp_path / "x.png")]
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name in ("x.png", "x.txt"):
            (tmp_path / "x.txt").write_text("a picture")
            tar.add(tmp_path / name, name)
    for path in (tmp_path, tmp_path / "all.tar"):
        entries, _ = list_images(path)
        assert [(entry.key, entry.caption) for entry in entries] == [("x", "a picture")]


def test_refusals(clip, tmp_path):
    with pytest.raises(UserError, match=f"there is no picture in {tmp_path}; unstir reads"):
        list_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"no picture in .* can be decoded; the first, a\.png: "):
        embed_images(clip, tmp_path)
