"""From a recipe and pictures to a model: what is used, what is said of it, and fine-tuning."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from unstir.data.digits import digit_pictures
from unstir.data.entry import Entry, Source
from unstir.data.pictures import Pictures
from unstir.data.transforms import decode
from unstir.errors import UserError
from unstir.models.diffusion import DiffusionConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.scenes.planner import COLOURS
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.new_run import _png, model_from, new_model, pack_for, select
from unstir.train.recipe import Recipe

RECIPE = Recipe(
    model=DiffusionConfig(
        DiTConfig(16, 4, patch=4, width=32, depth=1, heads=2, bottleneck=8, words=32),
        TextConfig(vocabulary=320, length=12, width=32, depth=1),
    ),
    train=TrainConfig(images=48, batch_size=8, warmup=16, log_every=8, sample_every=48, save_every=16),
    prompts=("two red discs",),
    settings=DiffusionSettings(steps=2),
)


def drawings(count=6):
    """Discs of several colours, transparent around."""
    y, x = np.mgrid[:16, :16]
    inside = (x - 7.5) ** 2 + (y - 7.5) ** 2 < 36
    pixels = np.zeros((count, 16, 16, 4), np.uint8)
    meta, names = [], []
    for i in range(count):
        pixels[i][inside] = (40 * i, 255 - 40 * i, 100, 255)
        names.append(f"{list(COLOURS)[i]} disc")
        meta.append({"name": names[-1], "tags": ["round"], "phrase": "plain", "style": "plain", "kind": i % 2})
    return Pictures(pixels, [(f"{name}, plain",) for name in names], [f"d{i}" for i in range(count)], meta)


def source(pictures):
    entries = [
        Entry(key, ways[0], meta, partial(_png, pixels))
        for key, ways, meta, pixels in zip(
            pictures.keys, pictures.captions, pictures.meta, pictures.pixels, strict=True
        )
    ]
    return Source("somewhere", "folder", entries, [])


HOOKS = replace(
    RECIPE,
    wanted=lambda meta: meta["name"] != "red disc",
    annotate=lambda meta: {**meta, "thing": meta["kind"] == 1, "weight": 3},
    keep=lambda metas: np.array([i for i, meta in enumerate(metas) if "weight" in meta and i != 2]),
    captioner=lambda entry: (entry.caption, f"thing: {entry.meta['thing']}"),
)


def test_what_a_recipe_takes_of_a_source(tmp_path):
    """wanted sees what the source says; keep and captioner also what annotate adds."""
    assert [entry.key for entry in select(source(drawings()), HOOKS).entries] == ["d1", "d2", "d4", "d5"]
    for where, found in (("source", source(drawings())), ("built in", drawings())):
        pictures, problems = pack_for(found, HOOKS, tmp_path / where)
        assert pictures.keys == ["d1", "d2", "d4", "d5"]
        assert pictures.captions[0] == ("orange disc, plain", "thing: True")
        assert pictures.captions[1] == ("yellow disc, plain", "thing: False")
        assert all(meta["weight"] == 3 for meta in pictures.meta)
        assert (pictures.pixels == drawings().pixels[[1, 2, 4, 5]]).all()
        assert problems == []


def test_a_recipe_that_wants_nothing(tmp_path):
    with pytest.raises(UserError, match="selects none of the 6 pictures in somewhere"):
        pack_for(source(drawings()), replace(RECIPE, wanted=lambda meta: False), tmp_path)


def test_a_built_in_set_without_hooks_stays_as_it_is(tmp_path):
    pictures, _ = pack_for(digit_pictures(), replace(RECIPE, captioner=None), tmp_path)
    assert pictures.captions == digit_pictures().captions
    assert pictures.meta == digit_pictures().meta
    assert (pictures.pixels == digit_pictures().pixels).all()


def test_built_in_pictures_can_be_read_as_files():
    pixels = drawings().pixels[3]
    assert (np.asarray(decode(_png(pixels))) == pixels).all()


# Models


def test_a_model_has_the_whole_configuration_of_its_recipe():
    """Whatever a recipe's configuration says is in the model; of the text, what the captions need."""
    config = replace(
        RECIPE.model, schedule="cosine", prediction="v", loss="v", t_std=0.8, layout=LayoutConfig(16, 1, 2)
    )
    model = new_model(replace(RECIPE, model=config), drawings())
    text = replace(config.text, vocabulary=len(model.tokenizer), length=model.config.text.length)
    assert model.config == replace(config, text=text)
    assert model.config.text.vocabulary <= 320
    long = drawings()
    long.captions[0] = ("a caption of very many words that goes on and on and on and does not end",)
    assert new_model(RECIPE, long).config.text.length > 12


def test_a_recipe_of_no_kind_and_settings_of_another():
    with pytest.raises(ValueError, match="of no kind in the table"):
        replace(RECIPE, model=RECIPE.model.text)
    with pytest.raises(ValueError, match="has no TrainConfig"):
        replace(RECIPE, settings=RECIPE.train)


@pytest.mark.parametrize("was", [{"schedule": "cosine", "prediction": "v", "loss": "v", "sigma_data": 0.7}, {}])
def test_fine_tuning_goes_on_as_the_weights_were_trained(was):
    """What the numbers of a network mean is kept, whatever the recipe says."""
    start = new_model(replace(RECIPE, model=replace(RECIPE.model, **was)), drawings())
    recipe = replace(RECIPE, model=replace(RECIPE.model, t_mean=-0.2, layout=LayoutConfig(16, 1, 2)))
    model = model_from(recipe, drawings(), start)
    assert model.config == replace(start.config, t_mean=-0.2, layout=LayoutConfig(16, 1, 2))
    assert model.tokenizer.json == start.tokenizer.json
    weights = dict(model.named_parameters())
    assert all(torch.equal(weights[name], value) for name, value in start.named_parameters())
    assert {name for name in weights if name.startswith("layout.")} == weights.keys() - dict(start.named_parameters())


def test_what_cannot_be_fine_tuned():
    start = new_model(RECIPE, drawings())
    wide = replace(RECIPE.model, network=replace(RECIPE.model.network, width=64))
    with pytest.raises(UserError, match="networks or the text encoders differ"):
        model_from(replace(RECIPE, model=wide), drawings(), start)
    long = drawings()
    long.captions[0] = ("a caption of very many words that goes on and on and on and does not end",)
    with pytest.raises(UserError, match="reads 12 tokens, and a caption has"):
        model_from(RECIPE, long, start)
    opaque = Pictures(long.pixels[..., :3], long.captions, long.keys, long.meta)
    with pytest.raises(UserError, match="with 4 channels"):
        new_model(RECIPE, opaque)
