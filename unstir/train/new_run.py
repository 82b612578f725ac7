"""Building the model of a new run from a recipe and its pictures."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from unstir.train.kinds import training
from unstir.train.recipe import Recipe


def select(source: Source, recipe: Recipe) -> Source:
    """The source with only the pictures that the recipe selects, and with its annotations."""
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
    """Pack the pictures that a recipe selects.

    found: a source, or a built-in set.
    where: the folder to write to.
    progress: called with (done, total).
    Returns the packed pictures, and the problems of those that cannot be used. UserError where none is left.
    """
    if isinstance(found, Source):
        source = select(found, recipe)
        if not source.entries:
            raise UserError(f"the recipe selects none of the {len(found.entries)} pictures in {found.name}")
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


def new_model(recipe: Recipe, pictures: Pictures, models: Mapping[str, Any] | None = None) -> Any:
    """A model with new weights, and a tokenizer trained on the captions or taken from a model. Deterministic.

    The context is as long as the recipe says, or longer if a caption or sample prompt needs it.
    models: of the earlier stages, by name.
    Raises UserError where the pictures do not have the size and channels of the recipe's network, or a caption does not
    fit into the context of an earlier stage.
    """
    _check_size(recipe, pictures)
    record, known = paradigm(recipe.kind), training(recipe.kind)
    config: Any
    if record.tokenizer is None:
        model: nn.Module = record.model(recipe.model)
    elif known.tokenizer is not None:
        tokenizer, texts, config = known.tokenizer(models or {}), _texts(recipe, pictures), recipe.model
        try:
            if hasattr(config, "for_tokens"):
                config = config.for_tokens(_longest(tokenizer, texts))
            model = record.model(config, tokenizer)
            for text in texts:
                model.tokenize([text])  # type: ignore[operator]
        except ValueError as error:
            raise UserError(f"a caption does not fit into the text encoder that was trained before: {error}") from None
    else:
        extra = recipe.source.captions(pictures) if recipe.source is not None else []
        tokenizer = Tokenizer.train([*_captions(pictures), *extra], recipe.model.text.vocabulary)
        length = max(recipe.model.text.length, _longest(tokenizer, _texts(recipe, pictures)))
        config = recipe.model
        text = replace(config.text, vocabulary=len(tokenizer), length=length)
        model = record.model(replace(config, text=text), tokenizer)
    initialise(model, recipe.train.seed)
    return model


def model_from(recipe: Recipe, pictures: Pictures, start: Any) -> Any:
    """A model for fine-tuning: weights, tokenizer and context of another model, configuration of the recipe.

    start: the other model.
    UserError where the recipe has another network, or a caption does not fit into the context.
    """
    _check_size(recipe, pictures)
    record = paradigm(recipe.kind)
    if not isinstance(start.config, record.config):
        raise UserError(f"the recipe trains {record.title}, and the model to fine-tune is of another kind; omit one")
    was: Any = start.config
    try:
        config = recipe.model.continued(was) if hasattr(recipe.model, "continued") else was
        model = record.model(config, *([] if record.tokenizer is None else [start.tokenizer]))
        initialise(model, recipe.train.seed)
        copy_weights(model, start)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the recipe does not fit the model to fine-tune: {error}; omit one of them") from None
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
    """Copy the weights of one model to another.

    start: the model to copy from. It need not have a layout predictor; ValueError where other weights are missing.
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
            f"these have {width}×{height} with {channels}; use another recipe, or none"
        )


def _texts(recipe: Recipe, pictures: Pictures) -> list[str]:
    """The texts that must fit into the context."""
    alone = recipe.source.shortest_captions(pictures) if recipe.source is not None else []
    return [*_captions(pictures), *recipe.prompts, *alone]


def known_words(recipe: Recipe, pictures: Pictures) -> list[str]:
    """The words of the training captions, the most frequent first; `generate` compares prompts with them."""
    extra = recipe.source.captions(pictures) if recipe.source is not None else []
    return vocabulary([*_captions(pictures), *extra])


def _captions(pictures: Pictures) -> Iterator[str]:
    return (text for ways in pictures.captions for text in ways)


def _longest(tokenizer: Tokenizer, texts: Iterable[str]) -> int:
    """The number of tokens of the longest text."""
    return max(len(tokenizer.tokens(text)) for text in texts)
