"""Runs from recipes, without a command line: what `unstir train --recipe` does, in memory."""

from unstir.nn.text import TextConfig
from unstir.train.auto_clip_recipe import clip_text
from unstir.train.kinds import training
from unstir.train.new_run import new_model
from unstir.train.run import Run

SMALL_TEXT = TextConfig(vocabulary=290, length=8, width=32, depth=1)
SMALL_CLIP_TEXT = clip_text(width=32, depth=1, vocabulary=290, length=8)


def run_of_recipe(recipe, pictures, folder):
    """A run of this recipe on these pictures, at its start."""
    model = new_model(recipe, pictures)
    source = training(recipe.kind).batches(model, pictures, recipe.train, recipe.source)
    return Run(folder, model, pictures, recipe.train, source, recipe.kind)
