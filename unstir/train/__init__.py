"""Training: one loop for every paradigm, resumable to the bit. The package can be called: `unstir.train(...)`."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """`unstir.training.train`."""
        from unstir.training import train

        return train(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
