"""A frozen text encoder of the `transformers` library: T5, BERT and others, as part of a model of unstir."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from unstir.text.tokenizer import Tokenizer

HOW_TO_INSTALL = "this model has a text encoder of the library transformers; install it: pip install 'unstir[text]'"


@dataclass(frozen=True)
class PretrainedTextConfig:
    """The architecture.

    architecture: the configuration of `transformers`, as JSON.
    width: of the token vectors.
    length: tokens of a text.
    longest: the largest `length` that the encoder reads.
    """

    architecture: str
    width: int
    length: int = 64
    longest: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.length <= self.longest:
            raise ValueError(f"the text encoder reads {self.longest} tokens, and a text has {self.length}")


class PretrainedText(nn.Module):
    """A text encoder without gradients. A new one has no meaningful weights; those of a file are loaded into it.

    ValueError for an architecture that is not one of text encoders.
    ImportError where `transformers` is not installed.
    """

    def __init__(self, config: PretrainedTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.network = _network(config.architecture)
        self.network.requires_grad_(False)
        # Weights that are used twice, such as the embedding of T5, are stored once.
        once = {id(value): name for name, value in self.network.named_parameters()}
        every = self.network.named_parameters(remove_duplicate=False)
        self._same = {name: once[id(value)] for name, value in every if once[id(value)] != name}
        self.register_state_dict_post_hook(_without_copies)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_copies)  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> "PretrainedText":  # noqa: ARG002 - it is never trained
        """Stay in evaluation mode: the vectors of a text have no dropout."""
        return super().train(False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.length), device=self.device)

    @torch.no_grad()
    def token_vectors(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids: (B, L).  Returns vectors (B, L, width), and (B, L) bool, False for padding."""
        real = ids != self.tokenizer.pad
        vectors: Tensor = self.network(input_ids=ids, attention_mask=real.long()).last_hidden_state
        return vectors, real

    def embed_words(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, (B, width) float32 unit vectors: the mean of their tokens. Each is encoded alone."""
        rows = []
        for text in texts:
            vectors, real = self.token_vectors(self.tokenize([text]))
            rows.append(nn.functional.normalize(vectors[real].float().mean(0, keepdim=True), dim=-1))
        return torch.cat(rows)


def _without_copies(module: PretrainedText, state: dict[str, Any], prefix: str, _local: Any) -> None:
    for name in module._same:
        state.pop(f"{prefix}network.{name}", None)


def _with_copies(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, kept in module._same.items():
        if f"{prefix}network.{kept}" in state:
            state[f"{prefix}network.{name}"] = state[f"{prefix}network.{kept}"]


def _network(architecture: str) -> nn.Module:
    """The encoder of a configuration, its weights not loaded. On the meta device only its parameters are."""
    try:
        from transformers import AutoConfig, AutoModelForTextEncoding
    except ImportError:
        raise ImportError(HOW_TO_INSTALL) from None
    try:
        values = json.loads(architecture)
        config = AutoConfig.for_model(values.pop("model_type"), **values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the configuration of the text encoder makes no sense: {error}") from None
    meta = torch.get_default_device().type == "meta"

    def to_meta(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.device.type == "meta":
            return None  # as it is: one that is used twice stays one
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    # Buffers are computed when they are made, such as positions, and are not in files: they must not be empty.
    hook = register_module_parameter_registration_hook(to_meta) if meta else nullcontext()  # type: ignore[arg-type]
    with hook, torch.device("cpu"):
        network: nn.Module = AutoModelForTextEncoding.from_config(config)  # type: ignore[no-untyped-call]
    return network.eval()
