"""unstir: text-to-image models of your own.

    import unstir

    model = unstir.load()
    model.draw("red apple, fluent 3d", n=4, seed=1)

`unstir.load`, `unstir.load_clip`, `unstir.train`, `unstir.evaluate` and `unstir.compare` are the Python interface
(docs/python.md).
Importing the package costs nothing: torch is imported by the first call.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unstir.comparison import compare as compare
    from unstir.evaluation import evaluate as evaluate
    from unstir.interop.clip import LoadedClip
    from unstir.model import Model
    from unstir.training import train as train

__all__ = ("compare", "evaluate", "load", "load_clip", "train")
__version__ = "0.2.0.dev0"


def load(model: str | Path | None = None, *, device: str = "auto", dtype: str | None = None) -> "Model":
    """A model that draws.

    model: a model file, a run folder, or "icons" or None for the default model.
    device: cpu, cuda or auto.
    dtype: "float32", "bfloat16", or None: as suits the device.
    Raises unstir.errors.UserError where there is no such model.
    """
    from unstir.model import Model
    from unstir.weights.model_file import DEFAULT, resolve_default

    return Model(None if model is None else resolve_default(Path(model), DEFAULT), device, dtype)


def load_clip(model: str | Path | None = None, *, device: str = "auto") -> "LoadedClip":
    """A CLIP, ready to compare pictures and words.

    model: a CLIP of unstir (file or run folder), a folder saved by transformers or open_clip, or None for the default.
    Raises unstir.errors.UserError where there is no such model.
    """
    from unstir.interop.clip import load_any_clip
    from unstir.request import checked_device
    from unstir.weights.model_file import DEFAULT_CLIP, resolve_default

    path = DEFAULT_CLIP if model is None else resolve_default(Path(model), DEFAULT_CLIP)
    return load_any_clip(path, checked_device(device))


def __getattr__(name: str) -> Any:
    """The packages `unstir.train`, `unstir.evaluate` and `unstir.compare`, which can be called.

    Each is imported when it is used.
    """
    if name in ("compare", "evaluate", "train"):
        return import_module(f"unstir.{name}")
    raise AttributeError(f"module 'unstir' has no attribute {name!r}")
