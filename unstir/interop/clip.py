"""Load a CLIP from anywhere: a file or run of unstir, or a folder that `transformers` or `open_clip` saved."""

import json
from collections.abc import Sequence
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
from unstir.interop.checkpoint import PICKLE_SUFFIXES, load_weights, pickle_error, tensor_files
from unstir.interop.preprocessing import Preprocessing, preprocess
from unstir.models.clip import Clip, ClipConfig
from unstir.models.description import dataclass_from
from unstir.models.pixels import to_model
from unstir.text.clip_tokenizer import ClipTokenizer
from unstir.text.tokenizer import TooLong
from unstir.weights.model_file import HEADER, find_model, load_clip, read_header

_PREPROCESSING = "preparation"  # key in the notes of a model file; files that exist have it


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP with its name and the preprocessing of its pictures.

    preprocessing: as published with the model; None for a model of unstir, whose pictures `data.transforms.fit` makes.
    """

    model: Clip
    name: str
    preprocessing: Preprocessing | None = None

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """A decoded picture ("RGB" or "RGBA", any size) as (S, S, C) uint8 for `models.pixels.to_model`."""
        if self.preprocessing is not None:
            return preprocess(image, self.preprocessing)
        channels, side, _ = self.model.shape
        return fit(image, side, channels)

    def similarity(self, images: Sequence[Image.Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The cosine of every picture with every text, (pictures, texts). UserError where a text is too long.

        images: of any size and mode; each is prepared and embedded alone.
        """
        try:
            words = self.model.embed_words(texts)
        except TooLong as error:
            raise UserError(str(error)) from None
        rows = []
        for image in images:
            pixels = self.pixels(image.convert("RGBA" if image.has_transparency_data else "RGB"))
            x0 = to_model(torch.from_numpy(pixels.copy())[None]).to(self.model.device)
            with torch.no_grad():
                rows.append(self.model.embed_pictures(x0)[0] @ words.T)
        cosines: npt.NDArray[np.float32] = torch.stack(rows).cpu().numpy()
        return cosines

    @property
    def notes(self) -> dict[str, Any]:
        """Notes for `save_model`, from which `load_any_clip` reads name and preprocessing."""
        preprocessing = {} if self.preprocessing is None else {_PREPROCESSING: asdict(self.preprocessing)}
        return {"name": self.name, **preprocessing}


def load_any_clip(path: Path, device: str = "cpu") -> LoadedClip:
    """Load a CLIP in float32.

    path: a model file or run folder of unstir, or a folder of `transformers` or `open_clip` (see `import_clip`).
    Raises UserError if there is no CLIP.
    """
    if path.is_dir() and any((path / config).is_file() for config in (huggingface.CONFIG, openclip.CONFIG)):
        imported = import_clip(path)
        return LoadedClip(imported.model.to(device), imported.name, imported.preprocessing)
    if path.is_dir() and not (path / "model.safetensors").exists():
        raise UserError(
            f"{path} holds no CLIP: neither a model.safetensors of unstir nor "
            f"{huggingface.CONFIG} or {openclip.CONFIG} with its weights"
        )
    if path.suffix in PICKLE_SUFFIXES and path.is_file():
        raise pickle_error(path)
    path = find_model(path)
    model = load_clip(path, device)
    notes = json.loads(read_header(path)[0][HEADER]).get("notes", {})
    try:
        values = notes.get(_PREPROCESSING)
        preprocessing = None if values is None else dataclass_from(Preprocessing, values)
        if preprocessing is not None and (3, preprocessing.size, preprocessing.size) != model.shape:
            raise ValueError(f"pictures of {preprocessing.size} pixels do not fit the model")
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the preprocessing in the notes of {path} is invalid: {error}") from None
    return LoadedClip(model, path.parent.name if path.stem == "model" else path.stem, preprocessing)


def import_clip(folder: Path) -> LoadedClip:
    """Load the CLIP in a folder of `transformers` or `open_clip`, on the CPU, in evaluation mode, without gradients.

    In both layouts the tokenizer is in tokenizer.json, or in vocab.json and merges.txt.
    Raises UserError if a file is missing or describes another kind of network, and for pickled weights.
    """
    try:
        if _is_openclip(folder):
            files = tensor_files(folder, openclip.WEIGHTS)
            config, preprocessing = openclip.read_config(folder, files)
            _check_depth(config, len(files))
            weight_map = openclip.weight_map(config, files)
        else:
            config, preprocessing = huggingface.read_config(folder)
            files = tensor_files(folder, huggingface.WEIGHTS)
            files = {name: path for name, path in files.items() if name not in huggingface.POSITION_IDS}
            _check_depth(config, len(files))
            weight_map = huggingface.weight_map(config)
        tokenizer = _read_tokenizer(folder, config)
        with torch.device("meta"):
            model = Clip(config, tokenizer)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        # Invalid sizes raise the last two.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder} holds no CLIP that unstir can read: {reason}") from None
    load_weights(model, weight_map, files, folder)
    model.requires_grad_(False)
    return LoadedClip(model.eval(), folder.resolve().name, preprocessing)


def _check_depth(config: ClipConfig, tensors: int) -> None:
    """Refuse more layers than there are tensors: a configuration of a few bytes could ask for 10⁹ of them."""
    depth = max(config.vision.depth, config.text.depth)
    if depth > tensors:
        raise ValueError(f"its configuration has {depth} layers and its weights {tensors} tensors")


def _is_openclip(folder: Path) -> bool:
    """Which layout to read; where a folder has both, the one with safetensors, and of two such `transformers`."""
    if not (folder / openclip.CONFIG).is_file():
        return False
    weights = any((folder / f"{huggingface.WEIGHTS}.safetensors{end}").is_file() for end in ("", ".index.json"))
    return not (weights and (folder / huggingface.CONFIG).is_file())


def _read_tokenizer(folder: Path, config: ClipConfig) -> ClipTokenizer:
    """The tokenizer in the folder of a model. Raises ValueError if it does not fit the model."""
    fast, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if fast.is_file():
        tokenizer = ClipTokenizer(fast.read_text(encoding="utf-8"))
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
        raise ValueError(f"its tokenizer has {len(tokenizer)} tokens, and its model reads {text.vocabulary}")
    if text.pool == "first_end" and tokenizer.end != text.end:
        raise ValueError(f"its tokenizer ends a text with token {tokenizer.end}, and its model expects {text.end}")
    if text.pool == "argmax" and tokenizer.end != len(tokenizer) - 1:
        raise ValueError(
            f"its model pools at the largest token, and the end token is {tokenizer.end} of {len(tokenizer)}"
        )
    return tokenizer
