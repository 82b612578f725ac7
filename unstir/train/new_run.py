"""From a recipe and pictures to a model that can be trained."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from unstir.data.entry import Entry, Problem, Source
from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.paradigms import paradigm
from unstir.nn.init import initialise
from unstir.text.tokenizer import Tokenizer
from unstir.text.vocabulary import vocabulary
from unstir.train.recipe import Recipe


def select(source: Source, recipe: Recipe) -> Source:
    """The source with only the pictures that the recipe trains on, and with what it says of them beside."""
    entries = [entry for entry in source.entries if recipe.wanted is None or recipe.wanted(entry.meta)]
    if recipe.annotate is not None:
        entries = [replace(entry, meta=recipe.annotate(entry.meta)) for entry in entries]
    if recipe.keep is not None:
        entries = [entries[row] for row in recipe.keep([entry.meta for entry in entries])]
    return Source(source.name, source.layout, entries, source.problems)


def pack_for(
    found: Source | Pictures,
    recipe: Recipe,
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
        channels, side, _ = recipe.shape
        pictures, problems = pack(source, side, channels, where=where, captioner=recipe.captioner, progress=progress)
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


def new_model(recipe: Recipe, pictures: Pictures) -> Any:
    """A model with starting weights, and a tokenizer trained on the captions. Deterministic.

    Its context is as long as the recipe says, or as the longest caption or sample prompt needs.
    Raises UserError where the pictures have not the size and channels that the recipe's network takes.
    """
    _check_size(recipe, pictures)
    record = paradigm(recipe.kind)
    if record.tokenizer is None:
        model: nn.Module = record.model(recipe.model)
    else:
        extra = recipe.source.captions(pictures) if recipe.source is not None else []
        tokenizer = Tokenizer.train([*_captions(pictures), *extra], recipe.model.text.vocabulary)
        length = max(recipe.model.text.length, _longest(tokenizer, _texts(recipe, pictures)))
        config: Any = recipe.model
        text = replace(config.text, vocabulary=len(tokenizer), length=length)
        model = record.model(replace(config, text=text), tokenizer)
    initialise(model, recipe.train.seed)
    return model


def model_from(recipe: Recipe, pictures: Pictures, start: Any) -> Any:
    """A model with the weights, the tokenizer and the context of another, trained on as the recipe says.

    UserError where the recipe's network is another one, or where its tokens do not suffice for these captions.
    """
    _check_size(recipe, pictures)
    record = paradigm(recipe.kind)
    if not isinstance(start.config, record.config):
        raise UserError(f"the recipe trains {record.title}, and the model to fine-tune is none; leave out one of them")
    was: Any = start.config
    try:
        config = recipe.model.continued(was) if hasattr(recipe.model, "continued") else was
        model = record.model(config, *([] if record.tokenizer is None else [start.tokenizer]))
        initialise(model, recipe.train.seed)
        copy_weights(model, start)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the recipe does not fit the model to fine-tune: {error}; leave out one of them") from None
    if record.tokenizer is not None:
        longest = max(_texts(recipe, pictures), key=lambda text: len(start.tokenizer.tokens(text)))
        tokens = len(start.tokenizer.tokens(longest))
        if tokens > was.text.length:
            raise UserError(
                f"the model to fine-tune reads {was.text.length} tokens, and a caption has {tokens}; "
                f"shorten it: {longest[:80]!r}"
            )
    return model


@torch.no_grad()
def copy_weights(model: nn.Module, start: nn.Module) -> None:
    """Give a model the weights of another wherever it has the same.

    ValueError where weights are missing other than of the layout predictor, which is learned from captions in minutes.
    """
    given = start.state_dict()
    for name, value in model.state_dict().items():
        if name in given:
            value.copy_(given[name])
        elif not name.startswith("layout."):
            raise ValueError(f"the model to fine-tune has no {name}")


def _check_size(recipe: Recipe, pictures: Pictures) -> None:
    _, height, width, channels = pictures.pixels.shape
    wanted, side, _ = recipe.shape
    if (height, width, channels) != (side, side, wanted):
        raise UserError(
            f"the network of this recipe takes pictures of {side}×{side} pixels with {wanted} channels, "
            f"these have {width}×{height} with {channels}; take another recipe, or none"
        )


def _texts(recipe: Recipe, pictures: Pictures) -> list[str]:
    """All that a model must be able to read."""
    alone = recipe.source.shortest_captions(pictures) if recipe.source is not None else []
    return [*_captions(pictures), *recipe.prompts, *alone]


def known_words(recipe: Recipe, pictures: Pictures) -> list[str]:
    """The words that a model of this recipe is trained on, the most frequent first: what `generate` compares prompts
    with.
    """
    extra = recipe.source.captions(pictures) if recipe.source is not None else []
    return vocabulary([*_captions(pictures), *extra])


def _captions(pictures: Pictures) -> Iterator[str]:
    return (text for ways in pictures.captions for text in ways)


def _longest(tokenizer: Tokenizer, texts: Iterable[str]) -> int:
    """Tokens of the longest of these texts."""
    return max(len(tokenizer.tokens(text)) for text in texts)
