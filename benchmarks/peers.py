"""open_clip without torchvision, of which it needs a few names at import and nothing in its networks.

Installed with `pip install --no-deps open_clip_torch` (and ftfy): torchvision's wheels want the very build of torch
they were made with, and where that is another one, importing them fails and takes diffusers and transformers along.
"""

import enum
import importlib
import sys
from types import ModuleType

STANDS_IN = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops.misc")


class _Filter(enum.Enum):
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


class _Names(ModuleType):
    """Has every name, as an empty class."""

    InterpolationMode = _Filter

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def open_clip() -> ModuleType:
    """The package; ImportError where it is not installed."""
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"]
    # It would load transformers, which looks for torchvision in its own way; the networks here need neither.
    hidden = {"transformers": None, **{name: _Names(name) for name in STANDS_IN}}
    hidden["torchvision"].transforms = hidden["torchvision.transforms"]
    hidden["torchvision.transforms"].functional = hidden["torchvision.transforms.functional"]
    before = {name: sys.modules[name] for name in hidden if name in sys.modules}
    sys.modules.update(hidden)
    try:
        return importlib.import_module("open_clip")
    finally:
        for name in hidden:
            del sys.modules[name]
        sys.modules.update(before)
