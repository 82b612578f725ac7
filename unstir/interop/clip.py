"""A CLIP from wherever it is: a file of ours, or a folder that `transformers` or `open_clip` has saved."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers.models import BPE

from unstir.data.transforms import fit
from unstir.errors import UserError
from unstir.interop import huggingface, openclip
from unstir.interop.checkpoint import PICKLED, fill, refusal, tensor_files
from unstir.interop.preprocessing import Preprocessing, preprocess
from unstir.models.clip import Clip, ClipConfig
from unstir.models.description import dataclass_from
from unstir.text.clip_tokenizer import ClipTokenizer
from unstir.weights.model_file import HEADER, find_model, load_clip, read_header


@dataclass(frozen=True)
class ReadClip:
    """A CLIP, and how pictures are brought to its size: as published, or (None) as our own models have them."""

    model: Clip
    name: str
    preparation: Preprocessing | None = None

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """A decoded picture ("RGB" or "RGBA", any size) as (S, S, C) uint8 for `models.pixels.to_model`."""
        if self.preparation is not None:
            return preprocess(image, self.preparation)
        channels, side, _ = self.model.shape
        return fit(image, side, channels)

    @property
    def notes(self) -> dict[str, Any]:
        """For `save_model`, so that `clip_at` finds the preparation again."""
        preparation = {} if self.preparation is None else {"preparation": asdict(self.preparation)}
        return {"name": self.name, **preparation}


def clip_at(path: Path, device: str = "cpu") -> ReadClip:
    """The CLIP at a path, float32: our own file or run folder, or a folder as `read_clip` reads it.

    UserError where there is none.
    """
    if path.is_dir() and any((path / config).is_file() for config in (huggingface.CONFIG, openclip.CONFIG)):
        read = read_clip(path)
        return ReadClip(read.model.to(device), read.name, read.preparation)
    if path.is_dir() and not (path / "model.safetensors").exists():
        raise UserError(
            f"{path} holds no CLIP: neither a model.safetensors of unstir nor "
            f"{huggingface.CONFIG} or {openclip.CONFIG} with its weights"
        )
    if path.suffix in PICKLED and path.is_file():
        raise refusal(path)
    path = find_model(path)
    model = load_clip(path, device)
    notes = json.loads(read_header(path)[0][HEADER]).get("notes", {})
    try:
        said = notes.get("preparation")
        preparation = None if said is None else dataclass_from(Preprocessing, said)
        if preparation is not None and (3, preparation.size, preparation.size) != model.shape:
            raise ValueError(f"{preparation.size} pixels are not what the model reads")
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} wants its pictures in a way that makes no sense: {error}") from None
    return ReadClip(model, path.parent.name if path.stem == "model" else path.stem, preparation)


def read_clip(folder: Path) -> ReadClip:
    """The CLIP in a folder of `transformers` or `open_clip`, ready to compare.

    In either case the tokenizer lies beside it: tokenizer.json, or vocab.json and merges.txt.
    UserError where something is missing or is another kind of network; pickled weights are refused.
    """
    try:
        if _is_openclip(folder):
            files = tensor_files(folder, openclip.WEIGHTS)
            config, preparation = openclip.read_config(folder, files)
            origins = openclip.origins(config, files)
        else:
            config, preparation = huggingface.read_config(folder)
            files = tensor_files(folder, huggingface.WEIGHTS)
            files = {name: path for name, path in files.items() if name not in huggingface.NOT_WEIGHTS}
            origins = huggingface.origins(config)
        tokenizer = _read_tokenizer(folder, config)
        with torch.device("meta"):
            model = Clip(config, tokenizer)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        # The last two come from sizes that make no sense.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder} holds no CLIP that can be read here: {reason}") from None
    fill(model, origins, files, folder)
    model.requires_grad_(False)
    return ReadClip(model.eval(), folder.resolve().name, preparation)


def _is_openclip(folder: Path) -> bool:
    """Some folders have both layouts; then that whose weights are there as safetensors counts, transformers' first."""
    if not (folder / openclip.CONFIG).is_file():
        return False
    theirs = any((folder / f"{huggingface.WEIGHTS}.safetensors{end}").is_file() for end in ("", ".index.json"))
    return not (theirs and (folder / huggingface.CONFIG).is_file())


def _read_tokenizer(folder: Path, config: ClipConfig) -> ClipTokenizer:
    """The tokenizer beside a model; ValueError where it does not fit the model."""
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        tokenizer = ClipTokenizer(whole.read_text(encoding="utf-8"))
    elif vocabulary.is_file() and merges.is_file():
        try:
            tokenizer = ClipTokenizer.of_merges(*BPE.read_file(str(vocabulary), str(merges)))
        except ValueError:
            raise
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(f"{vocabulary.name} and {merges.name} cannot be read: {error}") from None
    else:
        raise UserError(f"{folder} holds no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")
    text = config.text
    if len(tokenizer) > text.vocabulary:
        raise ValueError(f"its tokenizer has {len(tokenizer)} tokens and the model reads {text.vocabulary}")
    if text.pool == "first_end" and tokenizer.end != text.end:
        raise ValueError(f"its tokenizer ends a text with {tokenizer.end} and the model looks for {text.end}")
    if text.pool == "argmax" and tokenizer.end != len(tokenizer) - 1:
        raise ValueError(f"the model looks for the largest token, and the end is {tokenizer.end} of {len(tokenizer)}")
    return tokenizer
