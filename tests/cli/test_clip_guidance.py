"""CLIP guidance and the curve of similarity, from the command line."""

import numpy as np
import pytest
import torch

from unstir.diffusion.gradient_guidance import augmented_cosine, guide_by_gradient
from unstir.image.png import load_pixels, read_request, save_png
from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.clip import Clip, ClipConfig
from unstir.models.pixels import to_pixels
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.vision import VisionConfig
from unstir.request import fingerprint
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer
from unstir.weights.model_file import load_clip, load_model, save_model

APPLE = ("generate", "red apple", "--seed", 5)


def random_clip(path, channels=4, side=8, seed=0):
    tokenizer = Tokenizer.train(["red apple", "blue fish"], 300)
    vision = VisionConfig(side, channels, patch=4, width=32, depth=1, heads=2, mlp=32)
    clip = Clip(ClipConfig(vision, ClipTextConfig(len(tokenizer), 8, 32, 1, 2, 32), width=16), tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    save_model(path, clip)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return random_clip(tmp_path_factory.mktemp("clips") / "tiny_clip.safetensors")


@pytest.fixture(scope="module")
def colours_only(tmp_path_factory):
    return random_clip(tmp_path_factory.mktemp("clips") / "rgb.safetensors", channels=3)


@pytest.fixture(autouse=True)
def no_default(monkeypatch, tmp_path):
    """The CLIP that ships reads 64 pixels; here none ships unless a test says so."""
    monkeypatch.setattr("unstir.clip_guidance.DEFAULT_CLIP", tmp_path / "none.safetensors")


@pytest.fixture
def guided(call, model, clip, tmp_path):
    """The path of a red apple that CLIP has guided."""
    code, _, said = call(*APPLE, "--clip-guidance", 0.5, "--clip", clip, "--model", model, "--out", tmp_path / "guided")
    assert code == 0, said
    return tmp_path / "guided" / "red-apple-5.png"


def test_the_file_says_it_and_the_picture_shows_it(call, model, clip, tmp_path, guided):
    call(*APPLE, "--model", model, "--out", tmp_path / "plain")
    plain = tmp_path / "plain" / "red-apple-5.png"
    guidance = {"scale": 0.5, "views": 8, "model": "tiny_clip", "model_hash": fingerprint(clip)}
    assert read_request(guided) == read_request(plain) | {"clip": guidance}
    assert (load_pixels(guided) != load_pixels(plain)).any()


def test_0_is_off(call, model, clip, tmp_path):
    call(*APPLE, "--model", model, "--out", tmp_path / "plain")
    call(*APPLE, "--clip-guidance", 0, "--model", model, "--out", tmp_path / "zero")
    a, b = (tmp_path / folder / "red-apple-5.png" for folder in ("plain", "zero"))
    assert a.read_bytes() == b.read_bytes()


def test_the_similarity_rises(call, model, clip, tmp_path, guided):
    call(*APPLE, "--model", model, "--out", tmp_path / "plain")
    scorer = load_clip(clip)

    def score(path):
        pixels = torch.from_numpy(load_pixels(path).astype(np.float32) / 255)
        colour = torch.cat([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], dim=-1)
        return scorer.similarity(["red apple"], colour.permute(2, 0, 1)[None] * 2 - 1).item()

    assert score(guided) > score(tmp_path / "plain" / "red-apple-5.png") + 0.01


def test_pixels_are_the_library_s_own(model, clip, guided):
    loaded, scorer = load_model(model), load_clip(clip)
    towards = augmented_cosine(
        scorer.embed_pictures, scorer.embed_words(["red apple"])[0], 5, jitter, JITTER_PARAMETERS
    )

    def wrap(denoise):
        return guide_by_gradient(denoise, [towards], 0.5, loaded.model.schedule, loaded.model.config.sigma_data)

    words = loaded.model.encode(["red apple"])
    *_, last = loaded.model.sample(words, [5], loaded.settings, wrap=wrap)
    assert np.array_equal(to_pixels(last.x0)[0].numpy(), load_pixels(guided))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "sde"])
@pytest.mark.parametrize("size", [8, 12, 4])
def test_reproduce(call, model, clip, tmp_path, sampler, size):
    call(
        *(*APPLE, "--clip-guidance", 0.5, "--clip", clip, "--sampler", sampler, "--size", size, "--steps", 3),
        *("--negative", "fish", "--model", model, "--out", tmp_path),
    )
    picture = tmp_path / "red-apple-5.png"
    code, told, said = call("reproduce", picture, "--model", model, "--clip", clip)
    again = picture.with_name("red-apple-5-again.png")
    assert (code, told, said) == (0, f"{again}\n", "every pixel is the same\n")
    assert again.read_bytes() == picture.read_bytes()


def test_guided_pictures_do_not_depend_on_their_neighbours(call, model, clip, tmp_path):
    guidance = ("--clip-guidance", 0.5, "--clip", clip, "--model", model)
    call("generate", "red apple", "-n", 2, "--seed", 7, *guidance, "--out", tmp_path / "two")
    call("generate", "red apple", "--seed", 8, *guidance, "--out", tmp_path / "one")
    two, one = (tmp_path / folder / "red-apple-8.png" for folder in ("two", "one"))
    assert two.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "sde"])
def test_a_batch_has_the_bits_of_each_picture_alone(model, clip, sampler):
    loaded, scorer = load_model(model), load_clip(clip)
    prompts, seeds = ["red apple", "blue fish", "red apple", "blue"], [5, 5, 9, 5]

    def drawn(rows):
        towards = [
            augmented_cosine(
                scorer.embed_pictures, scorer.embed_words([prompts[i]])[0], seeds[i], jitter, JITTER_PARAMETERS, views=3
            )
            for i in rows
        ]

        def wrap(denoise):
            return guide_by_gradient(denoise, towards, 0.5, loaded.model.schedule, 0.5)

        words, settings = loaded.model.encode([prompts[i] for i in rows]), DiffusionSettings(steps=3, sampler=sampler)
        *_, last = loaded.model.sample(words, [seeds[i] for i in rows], settings, wrap=wrap)
        return last.x0

    together = drawn(range(4))
    assert len({picture.numpy().tobytes() for picture in together}) == 4
    for i in range(4):
        assert torch.equal(drawn([i])[0], together[i])


# The curve


def height_of_trace(folder):
    return load_pixels(folder / "red-apple-5-trace.png").shape[0]


def test_trace_draws_the_curve_where_a_clip_fits(call, model, clip, colours_only, tmp_path, monkeypatch):
    trace = (*APPLE, "--trace", "--model", model, "--out")
    call(*trace, tmp_path / "none")
    monkeypatch.setattr("unstir.clip_guidance.DEFAULT_CLIP", clip)
    call(*trace, tmp_path / "default")
    monkeypatch.setattr("unstir.clip_guidance.DEFAULT_CLIP", colours_only)
    code, _, said = call(*trace, tmp_path / "unfit")
    assert (code, said) == (0, "")
    call(*trace, tmp_path / "named", "--clip", clip)
    heights = {name: height_of_trace(tmp_path / name) for name in ("none", "default", "unfit", "named")}
    assert heights["none"] == heights["unfit"]
    assert heights["default"] == heights["named"] > heights["none"] + 40
    pictures = {(tmp_path / name / "red-apple-5.png").read_bytes() for name in heights}
    assert len(pictures) == 1  # to be measured changes nothing


def test_words_too_long_for_the_clip_leave_out_the_curve(call, refused, model, clip, tmp_path, monkeypatch):
    words = "a red apple and a blue fish"  # 16 tokens for the model, 8 for this CLIP
    monkeypatch.setattr("unstir.clip_guidance.DEFAULT_CLIP", clip)
    assert call("generate", words, "--seed", 5, "--trace", "--model", model, "--out", tmp_path)[0] == 0
    guidance = ("generate", words, "--clip-guidance", 0.3, "--model", model, "--out", tmp_path / "not")
    assert "this model reads 8; shorten it" in refused(*guidance)


# Bad input


def test_a_clip_that_does_not_fit(refused, model, colours_only, tmp_path):
    asked = (*APPLE, "--clip", colours_only, "--model", model, "--out", tmp_path / "out")
    for reason in (("--clip-guidance", 0.3), ("--trace",)):
        assert "reads pictures of 3 channels and this model draws 4" in refused(*asked, *reason)
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_clip(refused, model, tmp_path):
    asked = (*APPLE, "--clip-guidance", 0.3, "--model", model, "--out", tmp_path)
    assert "it is a diffusion model, and a CLIP is needed" in refused(*asked, "--clip", model)
    assert "there is no model" in refused(*asked, "--clip", tmp_path / "nowhere.safetensors")
    assert "ships no CLIP; name one with --clip" in refused(*asked)


@pytest.mark.parametrize("scale", ["nan", "inf", "strong"])
def test_bad_scales(refused, model, clip, tmp_path, scale):
    asked = (*APPLE, "--clip-guidance", scale, "--clip", clip, "--model", model, "--out", tmp_path)
    assert "--clip-guidance" in refused(*asked)


def test_guidance_by_no_words(refused, model, clip, tmp_path):
    asked = ("generate", " ", "--clip-guidance", 0.3, "--clip", clip, "--model", model, "--out", tmp_path)
    assert "it is empty; write what to draw" in refused(*asked)


def test_a_clip_for_nothing(refused, model, clip, tmp_path):
    assert "only with --clip-guidance or --trace" in refused(
        *APPLE, "--clip", clip, "--model", model, "--out", tmp_path
    )


def test_reproduce_tells_of_another_clip(refused, model, guided, tmp_path):
    other = random_clip(tmp_path / "other.safetensors", seed=1)
    assert "guided by another CLIP" in refused("reproduce", guided, "--model", model, "--clip", other)
    assert "ships no CLIP" in refused("reproduce", guided, "--model", model)


@pytest.mark.parametrize(
    "change",
    [{"scale": "x"}, {"scale": None}, {"views": 0}, {"views": 10**9}, {"views": "many"}, {"model_hash": 5}],
    ids=str,
)
def test_reproduce_refuses_clip_guidance_that_makes_no_sense(refused, model, clip, guided, change):
    request = read_request(guided)
    save_png(guided, load_pixels(guided), request | {"clip": request["clip"] | change})
    refused("reproduce", guided, "--model", model, "--clip", clip)


def test_reproduce_refuses_half_of_it(refused, model, clip, guided):
    request = read_request(guided)
    for half in (None, [], "strong", {"model_hash": fingerprint(clip)}):
        save_png(guided, load_pixels(guided), request | {"clip": half})
        refused("reproduce", guided, "--model", model, "--clip", clip)
