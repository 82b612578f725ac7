"""Load a text encoder from a folder that `transformers` saved."""

import json
from pathlib import Path
from typing import Any

import torch

from unstir.errors import UserError
from unstir.interop.checkpoint import PICKLE_SUFFIXES, pickle_error, read_json_object
from unstir.models.pretrained_text import HOW_TO_INSTALL, PretrainedText, PretrainedTextConfig
from unstir.text.pretrained_tokenizer import PretrainedTokenizer

NOT_STORED = ("auto_map", "architectures", "_name_or_path", "dtype", "torch_dtype", "transformers_version")
"""Of a configuration: what says where it comes from, and code of others, which is never run."""

NO_LIMIT = 100_000
"""A tokenizer without a length says a number beyond all use."""


def load_text_encoder(folder: Path, device: str = "cpu") -> PretrainedText:
    """Load a text encoder in float32, frozen, with its tokenizer: config.json, model.safetensors, tokenizer.json.

    Of a model with an encoder and a decoder, such as T5, the encoder.
    UserError where the folder holds none, where its weights are pickled, or where `transformers` is missing.
    """
    try:
        from transformers import AutoConfig, AutoModelForTextEncoding, AutoTokenizer
        from transformers.utils import logging as theirs
    except ImportError:
        raise UserError(HOW_TO_INSTALL) from None
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no text encoder of transformers: there is no config.json")
    if "auto_map" in read_json_object(folder / "config.json"):
        raise UserError(f"{folder} brings code of its own, which unstir does not run; give another text encoder")
    pickled = [path for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES]
    if not any(folder.glob("*.safetensors")):
        if pickled:
            raise pickle_error(pickled[0])
        raise UserError(f"{folder} holds no weights: there is no model.safetensors")
    logging: Any = theirs
    shown, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it reports the decoder's weights as unused
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        network = AutoModelForTextEncoding.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        fast = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
        if fast.pad_token_id is None:
            raise ValueError("its tokenizer has no token for padding")
        backend = fast.backend_tokenizer
        backend.enable_padding(pad_id=fast.pad_token_id, pad_token=fast.pad_token)
        tokenizer = PretrainedTokenizer(backend.to_str())
        if len(tokenizer) > config.vocab_size:
            raise ValueError(f"its tokenizer has {len(tokenizer)} tokens, and its model reads {config.vocab_size}")
        values = {name: value for name, value in config.to_dict().items() if name not in NOT_STORED}
        positions = [
            limit
            for limit in (getattr(config, "max_position_embeddings", None), fast.model_max_length)
            if limit is not None and 0 < limit < NO_LIMIT
        ]
        longest = int(min([512, *positions]))
        own = PretrainedTextConfig(
            json.dumps(values, sort_keys=True), int(config.hidden_size), min(64, longest), longest
        )
        model = PretrainedText(own, tokenizer)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        # `transformers` raises them for whatever is wrong with a folder.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder} holds no text encoder that unstir can read: {reason}") from None
    finally:
        logging.set_verbosity(shown)
        if bar:
            logging.enable_progress_bar()
    model.network.load_state_dict(network.state_dict())
    return model.to(device).eval()
