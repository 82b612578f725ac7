"""Comparing kinds of model: all trained for the same time on the same pictures, and measured in the same way.

`unstir.compare(...)`, the package called, does all of it (`unstir.comparison`).

    data        what is compared, and the pictures to train on and to hold out
    training    one run, in a process of its own
    evaluators      two spaces learned in different ways
    anchors     real pictures, copies, probabilistic PCA
    measures    of a set of pictures, of a model
    results     everything measured, kept in files
    tables, page    compare.json and compare.html
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """`unstir.comparison.compare`."""
        from unstir.comparison import compare

        return compare(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
