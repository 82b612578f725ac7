"""unstir interpolate, vary and clip vectors: paths, variations, directions and word vectors, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unstir
from unstir.image.png import read_request
from unstir.image.word_vectors import cosine_table, principal_components

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_recipes import RECIPES


def opened(path):
    """A picture, its file closed again."""
    with Image.open(path) as image:
        image.load()
        return image


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of some kinds, on sixteen small pictures."""
    folder = tmp_path_factory.mktemp("explore")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(16):
        colour, shape = ("red", "blue")[i % 2], ("disc", "box")[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / "pictures" / f"{i:02}.png")
        (folder / "pictures" / f"{i:02}.txt").write_text(f"a {colour} {shape}")
    for kind in ("diffusion", "vae", "vqvae", "unclip", "cascade", "latent"):
        unstir.train(folder / "pictures", folder / kind, recipe=RECIPES[kind]())
    return folder


@pytest.mark.parametrize("kind", ["diffusion", "vae", "vqvae", "unclip", "cascade", "latent"])
def test_paths(call, runs, tmp_path, kind):
    for ends in (("a red disc", "a blue box"), ("3", "7")):
        code, printed, said = call("interpolate", *ends, "--frames", "3", "--model", runs / kind, "--out", tmp_path)
        assert code == 0, said
        sheet, moving = map(Path, printed.split())
        assert opened(sheet).size[0] > 2 * 96
        assert opened(moving).size == (192, 192)  # equal frames are written once
        assert read_request(sheet)["path"] == list(ends)
    model = unstir.load(runs / kind)
    between = model.interpolate(3, 7, 3, prompt="a red disc")
    assert between[0].tobytes() == model.draw("a red disc", seed=3)[0].tobytes()
    assert between[2].tobytes() == model.draw("a red disc", seed=7)[0].tobytes()
    ends = model.interpolate("a red disc", "a blue box", 2, seed=5)
    assert ends[0].tobytes() == model.draw("a red disc", seed=5)[0].tobytes()
    assert ends[1].tobytes() == model.draw("a blue box", seed=5)[0].tobytes()


@pytest.mark.parametrize("kind", ["diffusion", "vae", "unclip", "latent", "latent/stages/autoencoder"])
def test_paths_between_pictures(call, runs, tmp_path, kind):
    ends = runs / "pictures" / "00.png", runs / "pictures" / "01.png"
    code, printed, said = call("interpolate", *ends, "--frames", "3", "--model", runs / kind, "--out", tmp_path)
    assert code == 0, said
    assert read_request(Path(printed.split()[0]))["path"] == ["00.png", "01.png"]  # names only


@pytest.mark.parametrize("kind", ["diffusion", "vae", "unclip", "latent"])
def test_variations(call, runs, tmp_path, kind):
    picture = runs / "pictures" / "00.png"
    code, printed, said = call("vary", picture, "-n", "2", "--seed", "1", "--model", runs / kind, "--out", tmp_path)
    assert code == 0, said
    *made, sheet = map(Path, printed.split())
    assert [path.name for path in made] == ["00-varied-1.png", "00-varied-2.png"]
    assert opened(sheet).size[0] > 3 * 96 - 20
    one = unstir.load(runs / kind).vary(picture, n=1, seed=2)[0]
    assert one.tobytes() == opened(made[1]).tobytes()
    code, _, said = call("reproduce", made[0], "--model", runs / kind)
    assert code == 2
    assert "made from other pictures" in said


def test_a_direction_of_words(call, runs, tmp_path):
    picture = runs / "pictures" / "00.png"
    words = ["--without", "a disc", "--with", "a red disc"]
    code, printed, said = call("vary", picture, *words, "-n", "1", "--model", runs / "unclip", "--out", tmp_path)
    assert code == 0, said
    assert read_request(Path(printed.split()[0]))["with"] == "a red disc"
    model = unstir.load(runs / "unclip")
    assert len(model.edit(opened(picture), "a disc", "a red disc", n=2, seed=4)) == 2


def test_what_is_refused(refused, runs, tmp_path):
    picture = runs / "pictures" / "00.png"
    assert "different kinds" in refused("interpolate", "a red disc", "7")
    assert "there is no picture missing.png" in refused("interpolate", "missing.png", "other.png")
    assert "2 frames or more" in refused("interpolate", "1", "2", "--frames", "1", "--model", runs / "vae")
    assert "no place in a space" in refused("interpolate", picture, picture, "--model", runs / "vqvae")
    assert "draws nothing from prompts" in refused(
        "interpolate", "1", "2", "--model", runs / "latent" / "stages" / "autoencoder"
    )
    assert "no variations" in refused("vary", picture, "--model", runs / "vqvae", "--out", tmp_path)
    assert "no directions of words" in refused(
        "vary", picture, "--without", "a", "--with", "b", "--model", runs / "vae", "--out", tmp_path
    )
    assert "give both --without and --with" in refused("vary", picture, "--with", "b")
    assert "--strength must be 0 to 1" in refused("vary", picture, "--strength", "2", "--model", runs / "vae")
    assert "there is no picture" in refused("vary", tmp_path / "none.png")
    assert "has no setting sampler" in refused("generate", "a", "--sampler", "ddim", "--model", runs / "vae")
    assert "has no setting steps; it has: temperature, top_k" in refused(
        "generate", "a", "--steps", "4", "--model", runs / "vqvae"
    )


def test_word_vectors(call, refused, runs, tmp_path):
    plot = tmp_path / "words.png"
    clip = runs / "unclip" / "stages" / "clip"
    code, printed, said = call("clip", "vectors", "red", "blue", "a disc", "--model", clip, "--plot", plot)
    assert code == 0, said
    assert "1.00" in printed
    assert opened(plot).size[0] > 600
    code, printed, _ = call("clip", "vectors", "red", "blue", "--model", runs / "vae", "--json")
    values = json.loads(printed)
    assert values["cosines"][0][0] == pytest.approx(1)
    assert len(values["components"]) == 2
    assert "two words or more" in refused("clip", "vectors", "red")
    assert "name of a PNG file" in refused("clip", "vectors", "red", "blue", "--plot", tmp_path / "a.txt")


def test_principal_components():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(9, 1)) * np.array([[3.0, 4.0, 0.0]])
    at, fractions = principal_components(line)
    assert fractions[0] == pytest.approx(1)
    assert np.allclose(np.abs(at[:, 0]), np.linalg.norm(line - line.mean(0), axis=1))
    table = cosine_table(np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert table[0, 1] == pytest.approx(np.sqrt(0.5))
