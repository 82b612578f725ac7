"""What a picture is asked for by: shared by the Python interface, the command line, a server, and the PNG itself."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir import __version__
from unstir.errors import UserError
from unstir.settings import BadSetting, Settings
from unstir.text.prompt import check_prompt

if TYPE_CHECKING:
    from unstir.clip_guidance import ClipScorer
    from unstir.models.generative import Frame
    from unstir.weights.model_file import Loaded

MAX_SCALE = 16
"""How many times the size it was trained at a model may be asked for; beyond lies only the end of the memory."""

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class ClipGuidance:
    """scale: how far CLIP moves every predicted picture towards the prompt.
    views: how many slightly changed copies of a picture it looks at.
    model, model_hash: name and fingerprint of the CLIP.
    """

    scale: float
    views: int
    model: str
    model_hash: str


@dataclass(frozen=True)
class Request:
    """Everything that decides what a picture looks like.

    settings: of the model's kind, every one of them, so that the picture can be made again whatever the defaults
        become.
    model, model_hash: name and fingerprint of the model file.
    device, dtype: where it was drawn, and in which number format.
    version: of unstir.
    """

    prompt: str
    seed: int
    settings: Settings
    model: str
    model_hash: str
    device: str
    dtype: str
    version: str = __version__
    clip: ClipGuidance | None = None

    def values(self) -> dict[str, Any]:
        """As it lies in a PNG: one flat JSON object, the settings among the rest."""
        values = asdict(self)
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in values.pop("settings").items()}
        if self.clip is None:
            del values["clip"]
        return {**settings, **values}


def request_from(values: Mapping[str, Any], kind: type[Settings]) -> Request:
    """A request from what a PNG says. kind: the settings of its model. UserError for what makes no sense."""
    known = {f.name for f in fields(Request)} - {"settings", "clip"}
    try:
        given = {name: values[name] for name in kind.table() if name in values}
        settings = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
        clip = values.get("clip")
        guidance = None if clip is None else ClipGuidance(**clip)
        rest = {name: values[name] for name in known if name in values}
        return Request(**rest, settings=settings, clip=guidance)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the request makes no sense: {error}") from None


def request_of(loaded: "Loaded[Any]", prompt: str, seed: int, **settings: Any) -> Request:
    """The full request for one picture.

    settings: by their names; None keeps the model's own default.
    UserError for what cannot be asked of this model.
    """
    check_prompt(prompt)
    check_prompt(str(settings.get("negative") or ""), "the negative prompt")
    try:
        chosen = loaded.settings.changed(settings)
    except BadSetting as error:
        raise UserError(f"--{error.option} {error.fault}") from error
    except ValueError as error:
        raise UserError(f"{loaded.path}: {error}") from None
    if "size" in chosen.table():
        chosen = chosen.changed({"size": getattr(chosen, "size", None) or loaded.model.shape[1]})
    _check_size(loaded, chosen)
    return Request(
        prompt,
        seed,
        chosen,
        loaded.name,
        fingerprint(loaded.path),
        loaded.model.device.type,
        loaded.dtype,
    )


def draw(
    loaded: "Loaded[Any]", requests: Sequence[Request], clip: "ClipScorer | None" = None, *, exact: bool = True
) -> Iterator["Frame"]:
    """The pictures of several requests that differ in prompt and seed alone, frame by frame.

    clip: needed where the requests have CLIP guidance.
    exact: each picture has the same bits in any company; else all are computed together, several times faster.
    Raises UserError for settings that do not fit together or give no picture.
    """
    first = requests[0]
    _check_size(loaded, first.settings)
    if any(replace(one, prompt=first.prompt, seed=first.seed) != first for one in requests):
        raise ValueError("only requests of the same settings can be drawn together")
    prompts, seeds = [one.prompt for one in requests], [one.seed for one in requests]
    try:
        wrap = {}
        if first.clip is not None:
            if clip is None:
                raise UserError("this picture is drawn with CLIP guidance, and no CLIP is given")
            if not loaded.kind.clip_guidance:
                raise UserError(f"{loaded.title} cannot be guided by a CLIP")
            wrap = {"wrap": clip.guidance(loaded.model, prompts, seeds, first.clip)}
        for prompt in prompts:
            loaded.model.check_prompts([prompt])
        yield from loaded.model.draw(prompts, seeds, first.settings, exact=exact, **wrap)
    except ValueError as error:
        raise UserError(str(error)) from None
    except (TypeError, OverflowError) as error:  # a request read from a file may hold anything
        raise UserError(f"the request makes no sense: {error}") from None


def _check_size(loaded: "Loaded[Any]", settings: Settings) -> None:
    most, size = MAX_SCALE * loaded.model.shape[1], getattr(settings, "size", None)
    if size is not None and size > most:
        raise UserError(f"this model draws up to {most} pixels, {MAX_SCALE} times its own size, not {size}")


def open_model(
    model: Path | None, device: str = "auto", dtype: str | None = None, steps: int | None = None
) -> "Loaded[Any]":
    """The model of this path, or the one that ships with the package; UserError as `load_model`.

    dtype: one of DTYPES; None: as suits the device.
    steps: how many will be taken; None: the model's own.
    """
    import torch

    from unstir.weights.model_file import DEFAULT, load_model

    if model is None and not DEFAULT.exists():
        raise UserError("this installation ships no default model; name one with --model")
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"there is no number format {dtype!r} here; there are: {', '.join(DTYPES)}")
    chosen = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    return load_model(model or DEFAULT, checked_device(device), chosen, steps)


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


def checked_seed(seed: int) -> int:
    """The seed; UserError where it is none."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed must be 0 to {2**32 - 1}, got {seed}")
    return seed


def fingerprint(path: Path) -> str:
    """The first 16 hex digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
