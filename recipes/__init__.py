"""Training runs as Python functions that return their configuration, with the figures they reached.

A recipe NAME is the function `NAME` in the file recipes/NAME.py.
"""

from collections.abc import Callable

from unstir.errors import UserError
from unstir.train.recipe import Recipe


def table() -> dict[str, Callable[[], Recipe]]:
    """Every recipe by name."""
    from recipes.digits import digits
    from recipes.icons import icons
    from recipes.shapes import shapes

    return {"digits": digits, "icons": icons, "shapes": shapes}


def named(name: str) -> Recipe:
    """The recipe of this name; UserError lists them if there is none."""
    known = table()
    if name not in known:
        raise UserError(f"there is no recipe {name!r}; there are: {', '.join(known)}")
    return known[name]()
