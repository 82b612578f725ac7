"""Imports open_clip without torchvision, whose names it uses at import and nowhere in its networks.

Installed with `pip install --no-deps open_clip_torch ftfy wcwidth`: a wheel of torchvision works only with the build of
torch that it was made for. With another one importing it fails, and with it diffusers and transformers.
"""

import enum
import importlib
import sys
from types import ModuleType

REPLACED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops.misc")


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
    # It would import transformers, which imports torchvision in its own way; the networks here need neither.
    hidden = {"transformers": None, **{name: _Names(name) for name in REPLACED}}
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
