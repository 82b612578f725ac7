"""CLIP: an encoder of pictures and one of texts into a shared space, trained by a contrastive loss."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.contrastive_loss import sigmoid_loss, softmax_loss
from unstir.models.process_group import process_group
from unstir.nn.clip_text import ClipText, ClipTextConfig
from unstir.nn.init import init_constant
from unstir.nn.vision import VisionConfig, VisionTransformer
from unstir.text.tokenizer import Tokenizer

STARTS = {"softmax": (1 / 0.07, 0.0), "sigmoid": (10.0, -10.0)}
"""The initial scale and bias of each loss. Source: CLIP, section 2.5; SigLIP, section 3.2."""

LARGEST_SCALE = 100.0
"""The largest scale of the softmax loss; without a limit training becomes unstable. Source: CLIP, section 2.5."""


@dataclass(frozen=True)
class ClipConfig:
    """The architecture and the loss.

    vision, text: the two encoders.
    width: of the shared space.
    loss: "softmax" (CLIP) or "sigmoid" (SigLIP).
    scale, bias: initial factor and offset of the cosines; None: as in STARTS. The softmax loss has no bias.
    augment: train on slightly shifted, rotated and scaled pictures.
    ValueError for values out of range.
    """

    vision: VisionConfig
    text: ClipTextConfig
    width: int = 512
    loss: str = "softmax"
    scale: float | None = None
    bias: float | None = None
    augment: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.vision.channels, self.vision.size, self.vision.size

    def __post_init__(self) -> None:
        if self.loss not in STARTS:
            raise ValueError(f"there is no contrastive loss {self.loss!r}; there are: {', '.join(STARTS)}")
        if self.bias is not None and self.loss == "softmax":
            raise ValueError("the softmax loss has no bias; omit it, or use the sigmoid loss")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")


class ClipBatch(NamedTuple):
    """This process's b rows of a batch of B; b = B where there is one process.

    x0: (b, C, S, S) in [-1, 1].
    ids: (b, L) tokens of the captions.
    same: (B, B) bool, of the whole batch: whether caption i is true of picture j. The diagonal is True.
    """

    x0: Tensor
    ids: Tensor
    same: Tensor


class Clip(nn.Module):
    """Two encoders, each with a linear map into the shared space; a `Trainable`."""

    def __init__(self, config: ClipConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.vision = VisionTransformer(config.vision)
        self.text = ClipText(config.text)
        self.project_picture = nn.Linear(config.vision.width, config.width, bias=False)
        self.project_words = nn.Linear(config.text.width, config.width, bias=False)
        scale, bias = STARTS[config.loss]
        start = {"log_scale": math.log(config.scale or scale)}
        self.log_scale = nn.Parameter(torch.tensor(start["log_scale"]))
        if config.loss == "sigmoid":
            start["bias"] = bias if config.bias is None else config.bias
            self.bias = nn.Parameter(torch.tensor(start["bias"]))
        init_constant(self, **start)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures that it reads."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @property
    def scale(self) -> Tensor:
        """The factor of the cosines in the loss, (): the inverse of the temperature."""
        log_scale = self.log_scale.float()
        if self.config.loss == "softmax":
            log_scale = log_scale.clamp(max=math.log(LARGEST_SCALE))
        return log_scale.exp()

    # Vectors

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 on the model's device. Raises TooLong where a text does not fit."""
        return torch.tensor(self.tokenizer.encode(texts, self.config.text.length), device=self.device)

    def embed_pictures(self, x0: Tensor) -> Tensor:
        """x0: (B, C, S, S) in [-1, 1], premultiplied if C = 4. Returns (B, width) float32 unit vectors."""
        return F.normalize(self.project_picture(self.vision(x0)).float(), dim=-1)

    def embed_ids(self, ids: Tensor) -> Tensor:
        """ids: (B, L) from `tokenize`. Returns (B, width) float32 unit vectors."""
        return F.normalize(self.project_words(self.text(ids)).float(), dim=-1)

    def token_vectors(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids: (B, L).  Returns vectors (B, L, width of the text encoder), and (B, L) bool, False for padding."""
        return self.text.tokens(ids)

    @torch.no_grad()
    def embed_words(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, (B, width) float32 unit vectors.

        Each text is encoded alone, so that its bits do not depend on the others; `embed_ids` is faster for many.
        """
        return torch.cat([self.embed_ids(self.tokenize([text])) for text in texts])

    @torch.no_grad()
    def similarity(self, texts: Sequence[str], x0: Tensor) -> Tensor:
        """(texts, pictures): the cosine of every text with every picture."""
        return self.embed_words(texts) @ self.embed_pictures(x0).T

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """One part, the whole model."""
        return {"main": self}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile both encoders with torch.

        The loss itself is not compiled: it is small, and communicates with other processes.
        """
        self.embedded = torch.compile(self.embedded)  # type: ignore[method-assign]

    def embedded(self, x0: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """`embed_pictures` and `embed_ids` of a batch."""
        return self.embed_pictures(x0), self.embed_ids(ids)

    def losses(self, batch: ClipBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the loss of this process's rows).

        rng: in the same state in all processes, on the device of the pictures.
        """
        if self.config.loss == "softmax":
            self._hold_scale()
        x0 = batch.x0
        if self.config.augment and self.training:
            # Drawn for the whole batch: the augmentation does not depend on the number of processes.
            uniform = torch.rand(JITTER_PARAMETERS, len(batch.same), generator=rng, device=x0.device)
            x0 = jitter(x0, uniform[:, process_group().rows(len(batch.same))])
        pictures, captions = self.embedded(x0, batch.ids)
        # Scaled by up to 100, cosines in bfloat16 would have errors of several tenths.
        with torch.autocast(x0.device.type, enabled=False):
            if self.config.loss == "softmax":
                loss = softmax_loss(captions, pictures, batch.same, self.scale)
            else:
                loss = sigmoid_loss(captions, pictures, batch.same, self.scale, self.bias.float())
        yield "main", loss

    @torch.no_grad()
    def _hold_scale(self) -> None:
        """Set the scale back if the last step has moved it above its limit.

        The clamp in `scale` alone has no gradient above the limit: a scale there would stay there.
        """
        self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
