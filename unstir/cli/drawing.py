"""A request as a dictionary, and the picture that it means: what `generate` and `reproduce` share."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir import __version__
from unstir.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from unstir.diffusion.denoiser import Denoiser
    from unstir.diffusion.sampler import Step
    from unstir.models.clip import Clip
    from unstir.weights.model_file import Loaded

Request = dict[str, Any]

VIEWS, MOST_VIEWS = 8, 64
"""How many views of every predicted picture CLIP guidance takes, and may be asked for."""

LARGEST = 16
"""How many times the size it was trained at a model may be asked for; beyond lies only the end of the memory."""


def open_model(model: Path | None, device: str, dtype: str | None = None, steps: int | None = None) -> "Loaded":
    """The model of this path, or the one that ships with the package; UserError as `load_model` does.

    dtype: "float32" or "bfloat16"; None: as suits the device.  steps: how many will be taken; None: the model's own.
    """
    import torch

    from unstir.weights.model_file import DEFAULT, load_model

    if model is None and not DEFAULT.exists():
        raise UserError("this installation ships no default model; name one with --model")
    chosen = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype not in chosen:
        raise UserError(f"there is no number format {dtype!r} here; there are: float32, bfloat16")
    return load_model(model or DEFAULT, checked_device(device), chosen[dtype], steps)


@dataclass(frozen=True, eq=False)
class Judge:
    """A CLIP that reads the pictures of the model that draws."""

    clip: "Clip"
    path: Path

    def score(self, prompt: str) -> Callable[["Tensor"], float]:
        """A function of one picture (1, C, S, S): 100 times its cosine with the words."""
        from unstir.models.pixels import resized

        words, side = self.clip.embed_words([prompt])[0], self.clip.shape[-1]
        return lambda x0: 100 * float(self.clip.embed_pictures(resized(x0.to(words), side))[0] @ words)

    def wish(self, scale: float) -> Request:
        """What a request says of its CLIP guidance."""
        return {"scale": scale, "views": VIEWS, "model": self.path.stem, "model_hash": fingerprint(self.path)}

    def guidance(self, loaded: "Loaded", prompt: str, seed: int, wish: Mapping[str, Any]) -> "Callable[..., Denoiser]":
        """The wrapper of a denoiser that a wish asks for."""
        from unstir.diffusion.gradient_guidance import augmented_cosine, guide_by_gradient
        from unstir.models.augment import JITTER_PARAMETERS, jitter
        from unstir.models.pixels import resized

        model, side = loaded.model, self.clip.shape[-1]
        scale, views = float(wish["scale"]), int(wish["views"])
        if views > MOST_VIEWS:
            raise UserError(f"CLIP guidance looks at up to {MOST_VIEWS} views, not {views}")

        def embed(pictures: "Tensor") -> "Tensor":
            return self.clip.embed_pictures(resized(pictures, side))

        towards = augmented_cosine(embed, self.clip.embed_words([prompt])[0], seed, jitter, JITTER_PARAMETERS, views)
        return partial(
            guide_by_gradient, towards=[towards], scale=scale, schedule=model.schedule, std=model.config.sigma_data
        )


def open_judge(clip: Path | None, loaded: "Loaded") -> Judge:
    """The CLIP of this path, or the one that ships with the package; UserError where it cannot read these pictures."""
    from unstir.weights.model_file import DEFAULT_CLIP, find_model, load_clip

    if clip is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation ships no CLIP; name one with --clip")
    path = find_model(clip or DEFAULT_CLIP)
    # On the CPU wherever the model is: there its gradient has the same bits every time.
    judge = Judge(load_clip(path), path)
    reads, draws = judge.clip.shape[0], loaded.model.shape[0]
    if reads != draws:
        raise UserError(f"{path} reads pictures of {reads} channels and this model draws {draws}; name another --clip")
    return judge


def checked_device(device: str) -> str:
    """The name of a device that is there: "auto" takes a GPU if there is one. UserError otherwise."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    there += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device not in there:
        raise UserError(f"there is no device {device!r} here; there is: {', '.join(there)}")
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
        "device": loaded.model.device.type,
        "dtype": str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        "version": __version__,
    }


def pixels_of(x: "Tensor") -> "NDArray[np.uint8]":
    """The one picture of a batch as uint8 (S, S, C), straight alpha."""
    from unstir.models.pixels import to_pixels

    pixels: NDArray[np.uint8] = to_pixels(x)[0].cpu().numpy()
    return pixels


def draw(loaded: "Loaded", request: Request, judge: Judge | None = None) -> Iterator["Step"]:
    """Every step of the picture of a request, as a batch of one; the last x0 is the picture.

    judge: needed where the request has CLIP guidance.

    Raises UserError for settings that do not exist, do not fit the model, or give no picture.
    """
    from unstir.models.build import sampling_of
    from unstir.models.diffusion import Sampling

    model = loaded.model
    channels, side, _ = model.shape
    try:
        size = int(request["size"])
        if not 1 <= size <= LARGEST * side:
            raise UserError(f"this model draws up to {LARGEST * side} pixels, {LARGEST} times its own size, not {size}")
        sampling = sampling_of({name: request[name] for name in asdict(Sampling()) if name in request})
        cond, seed, wrap = model.encode([request["prompt"]]), int(request["seed"]), None
        if "clip" in request:
            if judge is None:
                raise UserError("this picture is drawn with the help of a CLIP, and there is none here")
            wrap = judge.guidance(loaded, request["prompt"], seed, request["clip"])
        steps = model.sample((channels, size, size), cond, [seed], sampling, request["negative"], wrap)
        for step in steps:
            if not step.x0.isfinite().all():
                raise UserError(f"step {step.i + 1} gives no picture any more: lower the guidance")
            yield step
    except ValueError as error:
        raise UserError(str(error)) from None
    except (TypeError, OverflowError, KeyError) as error:  # a request read from a file may hold anything
        raise UserError(f"the request makes no sense: {error}") from None
