"""unstir clip: what it prints is what the vectors say, and what it cannot do it says in a sentence."""

import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.data.transforms import decode, fit
from unstir.image.png import load_pixels
from unstir.models.clip import Clip, ClipConfig
from unstir.models.pixels import to_model
from unstir.models.zero_shot import apply_direction, class_embeddings
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import DEFAULT_CLIP, load_clip, save_model


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    tokenizer = Tokenizer.train(["a red disc", "a blue box"], 280)
    vision = VisionConfig(16, 4, patch=4, width=32, depth=1, heads=2, mlp=64)
    text = ClipTextConfig(len(tokenizer), length=16, width=32, depth=1, heads=2, mlp=64)
    model = Clip(ClipConfig(vision, text, width=24), tokenizer)
    initialise(model, 0)
    path = tmp_path_factory.mktemp("clips") / "tiny_clip.safetensors"
    save_model(path, model)
    return path


@pytest.fixture(scope="module")
def model_read(clip_file):
    return load_clip(clip_file)


@pytest.fixture
def asked(call, clip_file):
    """A function (arguments …) -> the JSON that `unstir clip arguments …` prints."""

    def run(*arguments):
        code, out, errors = call("clip", *arguments, "--model", clip_file, "--device", "cpu", "--json")
        assert code == 0, errors
        return json.loads(out)

    return run


@torch.no_grad()
def vector(model, path):
    pixels = fit(decode(path.read_bytes()), 16, 4)
    return model.embed_pictures(to_model(torch.from_numpy(pixels.copy())[None]))


def test_score_is_the_cosine(asked, call, clip_file, model_read, photos):
    paths = [photos / "p000.png", photos / "p001.png"]
    texts = ["a red disc", "a blue box", "[b]box[/b]"]
    words = [part for text in texts for part in ("--words", text)]
    said = asked("score", *paths, *words)
    assert said["model"] == "tiny_clip"
    assert said["words"] == texts
    for row, path in zip(said["pictures"], paths, strict=True):
        assert row["picture"] == str(path)
        expected = (vector(model_read, path) @ model_read.embed_words(texts).T)[0]
        assert row["cosines"] == pytest.approx(expected.tolist(), abs=2e-4)
    code, out, _ = call("clip", "score", *paths, *words, "--model", clip_file)
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split() == " ".join(["picture", *texts]).split(" ")
    assert lines[1].split() == [str(paths[1]), *(f"{cosine:.3f}" for cosine in said["pictures"][1]["cosines"])]


def test_pictures_of_any_kind_and_size(asked, model_read, tmp_path):
    draw = np.random.default_rng(0)
    grey = Image.fromarray(draw.integers(0, 256, (40, 70), np.uint8))
    made = {
        "grey.png": grey,
        "bits.bmp": grey.convert("1"),
        "palette.png": grey.convert("P"),
        "photo.jpg": grey.convert("CMYK"),
        "clear.webp": Image.fromarray(draw.integers(0, 256, (9, 5, 4), np.uint8)),
        "dot.png": Image.new("RGB", (1, 1)),
        "sub/deep.PNG": grey,
    }
    for name, image in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image.save(tmp_path / name)
    said = asked("score", tmp_path, "--words", "a red disc")
    assert sorted(row["picture"] for row in said["pictures"]) == sorted(made)
    cosines = {row["picture"]: row["cosines"] for row in said["pictures"]}
    assert cosines["grey.png"] == cosines["sub/deep.PNG"]
    expected = vector(model_read, tmp_path / "clear.webp") @ model_read.embed_words(["a red disc"]).T
    assert cosines["clear.webp"] == pytest.approx(expected[0].tolist(), abs=2e-4)


def test_classify_a_folder(asked, call, clip_file, model_read, photos):
    labels, templates = ["red disc", "box", "blue"], ["a {}", "{}, a {}"]
    said = asked(
        "classify", photos, "--labels", "red disc, box,blue", "--template", templates[0], "--template", templates[1]
    )
    assert len(said["pictures"]) == 41  # one has no caption, which does not matter; the broken one is left out
    cosines = vector(model_read, photos / "p003.png") @ class_embeddings(model_read, labels, templates).T
    sure = (cosines / 0.07).softmax(1)[0]
    row = next(row for row in said["pictures"] if row["picture"] == "p003.png")
    assert list(row["probabilities"].values()) == pytest.approx(sure.tolist(), abs=1e-3)
    assert row["label"] == labels[sure.argmax()]
    code, out, errors = call("clip", "classify", photos, "--labels", "red disc,box,blue", "--model", clip_file)
    assert code == 0
    assert "left out broken.png" in errors
    *_, counts = out.splitlines()
    assert sum(int(part.rpartition(" ")[2]) for part in counts.split(", ")) == 41


def test_search_finds_the_picture_itself_first(asked, photos, tmp_path):
    said = asked("search", photos, "--like", photos / "p017.png", "-n", 3, "--sheet", tmp_path / "s.png")
    assert [hit["cosine"] for hit in said["found"]] == sorted((h["cosine"] for h in said["found"]), reverse=True)
    assert said["found"][0] == {"picture": "p017.png", "caption": "a green disc", "cosine": 1.0}
    assert len(said["found"]) == 3
    height, width, _ = load_pixels(tmp_path / "s.png").shape
    assert width > 2 * 96
    assert height > 96


def test_search_by_words_in_shards(asked, model_read, photos, tmp_path):
    shard = tmp_path / "all.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(photos.glob("p*")):
            tar.add(path, path.name)
    found = asked("search", tmp_path, "--words", "a red disc", "-n", 40)["found"]
    assert found == asked("search", shard, "--words", "a red disc", "-n", 99)["found"]
    query = model_read.embed_words(["a red disc"])
    cosines = {path.stem: (vector(model_read, path) @ query.T).item() for path in photos.glob("p*.png")}
    assert len(found) == len(cosines) == 40
    for hit in found:
        assert hit["cosine"] == pytest.approx(cosines[hit["picture"]], abs=2e-4)
    in_folder = asked("search", photos, "--words", "a red disc", "-n", 40)["found"]
    assert {hit["caption"] for hit in found} <= {hit["caption"] for hit in in_folder} | {""}


def test_a_direction(asked, call, clip_file, model_read, photos, tmp_path):
    start = photos / "p008.png"
    texts = ["--from", "a disc", "--to", "a red box"]
    said = asked("direction", photos, *texts, "--start", start, "--strength", 2, "-n", 5, "--sheet", tmp_path / "d.png")
    assert said["start"][0]["cosine"] == 1
    before, after = model_read.embed_words(["a disc", "a red box"]).split(1)
    goal = apply_direction(vector(model_read, start), before, after, 2.0)
    best = max((vector(model_read, path) @ goal.T).item() for path in photos.glob("p*.png"))
    assert said["found"][0]["cosine"] == pytest.approx(best, abs=2e-4)
    assert len(said["found"]) == 5
    height, width, _ = load_pixels(tmp_path / "d.png").shape
    assert width > 5 * 96
    assert height > 2 * 96
    from_words = asked("direction", photos, *texts, "--words", "a disc", "-n", 1)
    plain = asked("search", photos, "--words", "a red box", "-n", 1)
    assert from_words["found"] == plain["found"]  # disc - disc + box
    code, _, errors = call("clip", "direction", photos, *texts, "--model", clip_file)
    assert code == 0
    nearest = asked("search", photos, "--words", "a disc", "-n", 1)["found"][0]["picture"]
    assert f"starting from {nearest}, the picture most similar to 'a disc'" in errors


@pytest.mark.skipif(not DEFAULT_CLIP.exists(), reason="no CLIP comes with this checkout")
def test_the_clip_that_comes_with_unstir_knows_red_from_blue(call, tmp_path):
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
    code, out, _ = call("clip", "classify", tmp_path, "--labels", "red square,blue square", "--device", "cpu", "--json")
    assert code == 0
    assert {row["picture"]: row["label"] for row in json.loads(out)["pictures"]} == {
        "red.png": "red square",
        "blue.png": "blue square",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["score", "--words", "x"], "give at least one picture"),
        (["score", "HERE/p000.png", "--words", " "], "--words needs a text"),
        (["score", "HERE/p000.png", "--words", "caf\udce9"], "--words is not valid Unicode"),
        (["score", "HERE/p000.png", "--words", "disc " * 40], "shorten it"),
        (["score", "HERE/p000.txt", "--words", "x"], "cannot be decoded"),
        (["score", "HERE/none.png", "--words", "x"], "check the spelling"),
        (["classify", "HERE", "--labels", "one"], "two different labels"),
        (["classify", "HERE", "--labels", "one,,two"], "two different labels"),
        (["classify", "HERE", "--labels", "one,one"], "two different labels"),
        (["classify", "HERE", "--labels", "a,b", "--template", "a picture"], "where the label goes"),
        (["search", "HERE"], "either --words or --like"),
        (["search", "HERE", "--words", "x", "--like", "HERE/p000.png"], "either --words or --like"),
        (["search", "HERE", "--words", "x", "-n", "0"], "-n must be 1"),
        (["search", "HERE", "--words", "x", "--sheet", "found.jpg"], "--sheet needs the name of a PNG"),
        (["search", "HERE", "--words", "x", "--sheet", "HERE"], "--sheet needs the name of a PNG"),
        (["search", "HERE", "--like", "HERE"], "is not a picture"),
        (["search", "HERE", "--like", "HERE/broken.png"], "cannot be decoded"),
        (["search", "EMPTY", "--words", "x"], "there is no picture in"),
        (["direction", "HERE", "--from", "a", "--to", "b", "--start", "x.png", "--words", "c"], "not both"),
        (["direction", "HERE", "--from", "a", "--to", "b", "--strength", "nan"], "--strength"),
        (["direction", "HERE", "--from", "a", "--to", ""], "--to needs a text"),
        (["direction", "HERE", "--from", "a"], "--to"),
        (["search", "HERE", "--words", "x", "--device", "abacus"], "no device 'abacus'"),
        (["search", "HERE", "--words", "x", "--model", "EMPTY"], "holds no CLIP"),
        (["search", "HERE", "--words", "x", "--model", "HERE/nothing"], "there is no model"),
        (["sing"], "sing"),
    ],
)
def test_refusals(arguments, expected, refused, clip_file, photos, tmp_path):
    arguments = [word.replace("HERE", str(photos)).replace("EMPTY", str(tmp_path)) for word in arguments]
    if "--model" not in arguments and len(arguments) > 1:
        arguments += ["--model", str(clip_file)]
    assert expected in refused("clip", *arguments)


def test_a_drawing_model_is_refused(refused, model, photos):
    assert "a CLIP is needed" in refused("clip", "search", photos, "--words", "x", "--model", model)


def test_a_pickle_is_refused(refused, photos, tmp_path):
    torch.save({}, tmp_path / "clip.pt")
    sentence = refused("clip", "search", photos, "--words", "x", "--model", tmp_path / "clip.pt")
    assert "is a pickle" in sentence


def test_help_comes_at_once():
    code = "import sys\nfrom unstir.cli import main\nmain(['clip', 'search', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "--sheet" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", ["score", "classify", "search", "direction"])
def test_the_help_of_a_command_ends_with_an_example_of_it(command, call):
    code, out, _ = call("clip", command, "--help")
    assert code == 0
    text = " ".join(out.split())
    assert f"Example: unstir clip {command} " in text
    assert "Begin with" not in text
    assert text.rindex("Example:") > text.rindex("--device")


def test_the_help_names_the_direction_scale(call):
    _, out, _ = call("clip", "direction", "--help")
    assert "Direction scale" in out
