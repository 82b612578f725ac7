"""A request as a dictionary, and the picture that it means: what `generate` and `reproduce` share."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir import __version__
from unstir.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unstir.weights.modelfile import Loaded

Request = dict[str, Any]

LARGEST = 16
"""How many times the size it was trained at a model may be asked for; beyond lies only the end of the memory."""


def open_model(model: Path | None, device: str) -> "Loaded":
    """The model of this path, or the one that ships with the package; UserError as `load_model` does."""
    from unstir.weights.modelfile import DEFAULT, load_model

    if model is None and not DEFAULT.exists():
        raise UserError("this installation ships no default model; name one with --model")
    return load_model(model or DEFAULT, checked_device(device))


def checked_device(device: str) -> str:
    """The name of a device that is there: "auto" takes a GPU if there is one. UserError otherwise."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device not in (kind, *(f"{kind}:{i}" for i in range(count.get(kind, 0)))) or not count.get(kind):
        have = ", ".join(name for name, devices in count.items() if devices)
        raise UserError(f"there is no device {device!r} here; there is: {have}")
    return device


def fingerprint(path: Path) -> str:
    """The first 16 hex digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def request_of(loaded: "Loaded", prompt: str, negative: str, seed: int, size: int | None, **dials: Any) -> Request:
    """The full request: every dial spelled out, so that the picture can be made again whatever the defaults become.

    dials: fields of Sampling; None keeps the model's own default. UserError for what cannot be asked of the model.
    """
    sampling = replace(loaded.sampling, **{name: value for name, value in dials.items() if value is not None})
    _, side, _ = loaded.model.shape
    return {
        "prompt": prompt,
        "negative": negative,
        "seed": seed,
        "size": size or side,
        **asdict(sampling),
        "interval": list(sampling.interval),  # as JSON gives it back
        "model": loaded.notes.get("name", loaded.path.parent.name if loaded.path.stem == "model" else loaded.path.stem),
        "model_hash": fingerprint(loaded.path),
        "dtype": str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        "version": __version__,
    }


def draw(loaded: "Loaded", request: Request) -> Iterator[tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]]:
    """Every step of the picture of a request as (x_t, predicted x0), each uint8 (S, S, C); the last x0 is the picture.

    Raises UserError for settings that do not exist or do not fit the model.
    """
    from unstir.models.build import sampling_of
    from unstir.models.diffusion import Sampling
    from unstir.models.pixels import to_pixels

    model = loaded.model
    channels, side, _ = model.shape
    try:
        size = int(request["size"])
        if not 1 <= size <= LARGEST * side:
            raise UserError(f"this model draws up to {LARGEST * side} pixels, {LARGEST} times its own size, not {size}")
        sampling = sampling_of({name: request[name] for name in asdict(Sampling()) if name in request})
        cond = model.encode([request["prompt"]])
        steps = model.sample((channels, size, size), cond, [int(request["seed"])], sampling, request["negative"])
        for step in steps:
            yield to_pixels(step.xt)[0].cpu().numpy(), to_pixels(step.x0)[0].cpu().numpy()
    except ValueError as error:
        raise UserError(str(error)) from None
    except TypeError as error:  # a request read from a file may hold anything
        raise UserError(f"the request makes no sense: {error}") from None
