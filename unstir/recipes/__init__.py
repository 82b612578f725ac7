"""Training runs as Python functions that return their configuration, with the figures they reached.

A recipe NAME is the function NAME in the file recipes/NAME.py, with _ for -.
"""

from collections.abc import Callable, Mapping

from unstir.errors import UserError
from unstir.train.recipe import ClipRecipe, Recipe


def table() -> Mapping[str, Callable[[], Recipe | ClipRecipe]]:
    """Every recipe by name."""
    from unstir.recipes.clip_digits import clip_digits
    from unstir.recipes.clip_shapes import clip_shapes
    from unstir.recipes.digits import digits
    from unstir.recipes.icons import icons
    from unstir.recipes.icons_clip import icons_clip
    from unstir.recipes.icons_narrow import icons_narrow
    from unstir.recipes.shapes import shapes

    return {
        "clip-digits": clip_digits,
        "clip-shapes": clip_shapes,
        "digits": digits,
        "icons": icons,
        "icons-clip": icons_clip,
        "icons-narrow": icons_narrow,
        "shapes": shapes,
    }


def named(name: str) -> Recipe | ClipRecipe:
    """The recipe of this name; UserError lists them if there is none."""
    known = table()
    if name not in known:
        raise UserError(f"there is no recipe {name!r}; there are: {', '.join(known)}")
    return known[name]()
