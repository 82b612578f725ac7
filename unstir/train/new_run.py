"""From a recipe and pictures to a run that can start or continue."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from unstir.data.entry import Entry, Problem, Source
from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.clip import Clip, ClipConfig
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.layout import LayoutConfig
from unstir.nn.text import TextConfig
from unstir.scenes.batches import drawings_of
from unstir.scenes.planner import Drawing, SceneMix, ScenePlanner
from unstir.text.tokenizer import Tokenizer
from unstir.text.vocabulary import vocabulary
from unstir.train.batch_sources import batch_source
from unstir.train.loop import Run
from unstir.train.recipe import AnyRecipe, ClipRecipe, Recipe


def select(source: Source, recipe: AnyRecipe) -> Source:
    """The source with only the pictures that the recipe trains on, and with what it says of them beside."""
    entries = [entry for entry in source.entries if recipe.wanted is None or recipe.wanted(entry.meta)]
    if recipe.annotate is not None:
        entries = [replace(entry, meta=recipe.annotate(entry.meta)) for entry in entries]
    if recipe.keep is not None:
        entries = [entries[row] for row in recipe.keep([entry.meta for entry in entries])]
    return Source(source.name, source.layout, entries, source.problems)


def pack_for(
    found: Source | Pictures,
    recipe: Recipe | ClipRecipe,
    where: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pictures, list[Problem]]:
    """The pictures of a recipe, from a source or a built-in set, written into the folder `where`.

    Returns them, and those that could not be used. UserError where none is left.
    """
    if isinstance(found, Source):
        source = select(found, recipe)
        if not source.entries:
            raise UserError(f"the recipe wants none of the {len(found.entries)} pictures in {found.name}")
        pictures, problems = pack(
            source, recipe.side, recipe.channels, where=where, captioner=recipe.captioner, progress=progress
        )
        return pictures, [*source.problems, *problems]
    rows = {key: row for row, key in enumerate(found.keys)}
    entries = list(_entries(found))
    source = select(Source("the built-in set", "built in", entries, []), recipe)
    kept = found.take([rows[entry.key] for entry in source.entries])
    kept.meta = [dict(entry.meta) for entry in source.entries]
    if recipe.captioner is not None:
        kept.captions = []
        for done, entry in enumerate(source.entries, 1):
            kept.captions.append(recipe.captioner(entry))
            if progress is not None:
                progress(done, len(entries))
    kept.save(where)
    return Pictures.load(where), []


def _entries(pictures: Pictures) -> Iterator[Entry]:
    """Packed pictures as the entries of a source."""
    for pixels, key, ways, meta in zip(pictures.pixels, pictures.keys, pictures.captions, pictures.meta, strict=True):
        yield Entry(key, ways[0], meta, partial(_png, pixels))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def new_model(recipe: Recipe | ClipRecipe, pictures: Pictures) -> Diffusion | Clip:
    """A model with starting weights, and a tokenizer trained on the captions. Deterministic.

    Its context is as long as the recipe says, or as the longest caption or sample prompt needs.
    Raises UserError where the pictures have not the size and channels that the recipe's network takes.
    """
    _, height, width, channels = pictures.pixels.shape
    if (height, width, channels) != (recipe.side, recipe.side, recipe.channels):
        raise UserError(
            f"the network of this recipe takes pictures of {recipe.side}×{recipe.side} pixels with {recipe.channels} "
            f"channels, these have {width}×{height} with {channels}; take another recipe, or none"
        )
    model = new_diffusion(recipe, pictures) if isinstance(recipe, Recipe) else new_clip(recipe, pictures)
    initialise(model, recipe.train.seed)
    return model


def new_diffusion(recipe: Recipe, pictures: Pictures) -> Diffusion:
    """A model that draws, without its starting weights. Where it is trained on scenes it knows their words too."""
    told = scene_captions(drawings_of(pictures)) if recipe.train.scenes else []
    tokenizer = Tokenizer.train([*_captions(pictures), *told], recipe.vocabulary)
    text = TextConfig(
        vocabulary=len(tokenizer),
        length=max(recipe.length, _longest(tokenizer, _texts(recipe, pictures))),
        width=recipe.text_width,
        depth=recipe.text_depth,
    )
    return Diffusion(_config(recipe, text), tokenizer)


def model_from(recipe: Recipe, pictures: Pictures, start: Diffusion) -> Diffusion:
    """A model that draws, with the weights, the tokenizer and the context of another, trained on as the recipe says.

    UserError where the recipe's network is another one, or where its tokens do not suffice for what is said here.
    """
    if (recipe.network, recipe.text_width, recipe.text_depth) != (
        start.config.network,
        start.config.text.width,
        start.config.text.depth,
    ):
        raise UserError("the recipe trains another network than that of the model to begin with; leave out one of them")
    longest = max(_texts(recipe, pictures), key=lambda text: len(start.tokenizer.tokens(text)))
    if len(start.tokenizer.tokens(longest)) > start.config.text.length:
        raise UserError(
            f"the model to begin with reads {start.config.text.length} tokens, and a caption has "
            f"{len(start.tokenizer.tokens(longest))}; shorten it: {longest[:80]!r}"
        )
    wanted = _config(recipe, start.config.text)
    layout = start.config.layout or wanted.layout
    model = Diffusion(replace(wanted, sigma_data=start.config.sigma_data, layout=layout), start.tokenizer)
    initialise(model, recipe.train.seed)
    copy_weights(model, start)
    return model


@torch.no_grad()
def copy_weights(model: Diffusion, start: Diffusion) -> None:
    """Give a model the weights of another wherever it has the same. Only what learning needs beside may be missing."""
    given = dict(start.named_parameters())
    for name, parameter in model.named_parameters():
        if name in given:
            parameter.copy_(given[name])
        elif not name.startswith("layout."):
            raise ValueError(f"the model to begin with has no {name}")


def _texts(recipe: Recipe, pictures: Pictures) -> list[str]:
    """All that a model must be able to read: scenes too long for it are not made, but every drawing must fit alone."""
    alone = [f"{one.name}, {one.phrase}" for one in drawings_of(pictures)] if recipe.train.scenes else []
    return [*_captions(pictures), *recipe.prompts, *alone]


def _config(recipe: Recipe, text: TextConfig) -> DiffusionConfig:
    return DiffusionConfig(
        recipe.network,
        text,
        sigma_data=recipe.sigma_data,
        t_mean=recipe.t_mean,
        t_std=recipe.t_std,
        layout=LayoutConfig() if recipe.train.scenes else None,
    )


def new_clip(recipe: ClipRecipe, pictures: Pictures) -> Clip:
    """A model that compares, without its starting weights. Its encoders have heads of 32 and are four times as wide
    inside.
    """
    captions = list(_captions(pictures))
    tokenizer = Tokenizer.train(captions, recipe.vocabulary)
    text = ClipTextConfig(
        vocabulary=len(tokenizer),
        length=max(recipe.length, _longest(tokenizer, captions)),
        width=recipe.text_width,
        depth=recipe.text_depth,
        heads=max(1, recipe.text_width // 32),
        mlp=4 * recipe.text_width,
    )
    return Clip(ClipConfig(recipe.vision, text, recipe.width, recipe.loss, augment=recipe.augment), tokenizer)


def scene_captions(drawings: Sequence[Drawing], each: int = 2) -> list[str]:
    """What is said of scenes, well spelt, for a tokenizer to learn: so many around each drawing, always the same."""
    maker = ScenePlanner(drawings, SceneMix(typos=0.0))
    rng = np.random.Generator(np.random.Philox(key=0))
    return [maker.scene(row, rng).caption for row in range(len(drawings)) for _ in range(each)]


def known_words(recipe: Recipe | ClipRecipe, pictures: Pictures) -> list[str]:
    """The words that a model of this recipe is told, the most frequent first: what `generate` compares prompts with."""
    told = scene_captions(drawings_of(pictures)) if recipe.train.scenes else []
    return vocabulary([*_captions(pictures), *told])


def _captions(pictures: Pictures) -> Iterator[str]:
    return (text for ways in pictures.captions for text in ways)


def _longest(tokenizer: Tokenizer, texts: Iterable[str]) -> int:
    """Tokens of the longest of these texts."""
    return max(len(tokenizer.tokens(text)) for text in texts)


def new_run(recipe: Recipe | ClipRecipe, pictures: Pictures, folder: Path) -> Run[Any]:
    """A run in this folder, at its very start; `train` continues it where its checkpoint is."""
    model = new_model(recipe, pictures)
    return Run(folder, model, pictures, recipe.train, *batch_source(model, pictures, recipe.train))
