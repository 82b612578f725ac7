"""Importing open_clip without torchvision, of which its networks need nothing.

Install it with `pip install --no-deps open_clip_torch` (and ftfy). A wheel of torchvision needs the build of torch that
it was compiled for; with another one its import fails, and with it those of diffusers and transformers.
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
    """A module in which every name is an empty class."""

    InterpolationMode = _Filter

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def open_clip() -> ModuleType:
    """The package; ImportError where it is not installed."""
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"]
    # open_clip would import transformers, which imports torchvision; the networks here need neither.
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
