"""From a recipe and packed pictures to a run that can start or continue."""

from pathlib import Path

from unstir.data.entry import Source
from unstir.data.pictures import Pictures
from unstir.errors import UserError
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.start import initialise
from unstir.nn.text import TextConfig
from unstir.text.tokenizer import Tokenizer
from unstir.train.batches import batches
from unstir.train.loop import Run
from unstir.train.recipe import Recipe


def chosen(source: Source, recipe: Recipe) -> Source:
    """The source with only the pictures that the recipe wants."""
    if recipe.wanted is None:
        return source
    entries = [entry for entry in source.entries if recipe.wanted(entry.meta)]
    return Source(source.name, source.layout, entries, source.problems)


def new_model(recipe: Recipe, pictures: Pictures) -> Diffusion:
    """A model with starting weights, and a tokenizer trained on the captions. Deterministic.

    Its context is as long as the recipe says, or as the longest caption or sample prompt needs.
    Raises UserError where the pictures have not the size and channels that the recipe's network takes.
    """
    side, channels = recipe.network.size, recipe.network.channels
    if pictures.pixels.shape[1:] != (side, side, channels):
        height, width, have = pictures.pixels.shape[1:]
        raise UserError(
            f"the network of this recipe takes pictures of {side}×{side} pixels with {channels} channels, "
            f"these have {width}×{height} with {have}; take another recipe, or none"
        )
    tokenizer = Tokenizer.train((text for ways in pictures.captions for text in ways), recipe.vocabulary)
    texts = (*recipe.prompts, *(text for ways in pictures.captions for text in ways))
    longest = max(len(tokenizer.tokens(text)) for text in texts)
    text = TextConfig(
        vocabulary=len(tokenizer),
        length=max(recipe.length, longest),
        width=recipe.text_width,
        depth=recipe.text_depth,
    )
    config = DiffusionConfig(
        recipe.network, text, sigma_data=recipe.sigma_data, t_mean=recipe.t_mean, t_std=recipe.t_std
    )
    model = Diffusion(config, tokenizer)
    initialise(model, recipe.train.seed)
    return model


def begin(recipe: Recipe, pictures: Pictures, folder: Path) -> Run[Diffusion]:
    """A run in this folder, at its very start; `train` continues it where its checkpoint is."""
    model = new_model(recipe, pictures)
    return Run(folder, model, pictures, recipe.train, batches(pictures, model, recipe.train))
