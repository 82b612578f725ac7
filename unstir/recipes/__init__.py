"""Recipes: Python functions that return the configuration of a training run, with the results that it reached.

The recipe NAME is the function NAME in unstir/recipes/NAME.py, with _ for -. Files without such a function are not
recipes.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules

from unstir.errors import UserError
from unstir.train.recipe import Recipe


def recipe_table() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes by name."""
    found = {}
    for module in iter_modules(__path__):
        function = getattr(import_module(f"{__name__}.{module.name}"), module.name, None)
        if callable(function):
            found[module.name.replace("_", "-")] = function
    return found


def named_recipe(name: str) -> Recipe:
    """The recipe of this name. UserError with a list of the names where there is none."""
    known = recipe_table()
    if name not in known:
        raise UserError(f"there is no recipe {name!r}; there are: {', '.join(known)}")
    return known[name]()
