"""A classifier that names the words of a picture's caption: a evaluator of pictures that knows no CLIP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.pixels import to_model
from unstir.models.process_group import process_group
from unstir.nn.autoencoder import ConvNetConfig, Encoder
from unstir.text.vocabulary import words_of


@dataclass(frozen=True)
class WordClassifierConfig:
    """The architecture.

    size: side of the pictures.
    network: its `latent` is the number of features at each position.
    words: that it tells apart.
    """

    size: int
    network: ConvNetConfig
    words: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.network.channels, self.size, self.size


class LabelledBatch(NamedTuple):
    """x0: (B, C, S, S) in [-1, 1].  present: (B, words) 0 or 1."""

    x0: Tensor
    present: Tensor


class WordClassifier(nn.Module):
    """A `Trainable`: convolutions, the mean over all positions, and the probability of each word.

    Each word is a decision of its own, so that captions of any grammar can be learned.
    """

    def __init__(self, config: WordClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.network, config.network.latent)
        self.norm = nn.LayerNorm(config.network.latent)
        self.out = nn.Linear(config.network.latent, len(config.words))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the pictures."""
        return self.config.shape

    @property
    def device(self) -> torch.device:
        return self.out.weight.device

    def features(self, x0: Tensor) -> Tensor:
        """x0: (B, C, S, S) in [-1, 1], premultiplied if C = 4.  Returns (B, latent)."""
        out: Tensor = self.norm(F.silu(self.encoder(x0)).mean((2, 3)))
        return out

    def logits(self, x0: Tensor) -> Tensor:
        """(B, words), of the words of `config.words`."""
        out: Tensor = self.out(self.features(x0)).float()
        return out

    def presence(self, captions: Sequence[str]) -> Tensor:
        """(B, words): 1 where a caption has the word."""
        rows = {word: row for row, word in enumerate(self.config.words)}
        present = torch.zeros(len(captions), len(rows))
        for i, caption in enumerate(captions):
            for word in words_of(caption):
                if word in rows:
                    present[i, rows[word]] = 1
        return present.to(self.device)

    def log_probability(self, logits: Tensor, captions: Sequence[str]) -> Tensor:
        """The log probability of every caption's set of words, (pictures, captions). logits: (pictures, words)."""
        present = self.presence(captions)
        return F.logsigmoid(logits) @ present.T + F.logsigmoid(-logits) @ (1 - present).T

    # Training

    def parts(self) -> dict[str, nn.Module]:
        """One part, the whole model."""
        return {"main": self}

    def exported(self) -> nn.Module:
        """The model of the model file."""
        return self

    def compile_loss(self) -> None:
        """Compile the convolutions with torch."""
        self.encoder.compile()

    def batch(self, pixels: Tensor, captions: Sequence[str]) -> LabelledBatch:
        """uint8 (B, H, W, C) and B captions -> a batch on the model's device."""
        return LabelledBatch(to_model(pixels.to(self.device)), self.presence(captions))

    def losses(self, batch: LabelledBatch, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("main", the cross-entropy in nats, summed over the words). rng: in the same state in all processes."""
        x0 = batch.x0
        if self.training:
            group = process_group()
            total = len(x0) * group.size
            uniform = torch.rand(JITTER_PARAMETERS, total, generator=rng, device=x0.device)
            x0 = jitter(x0, uniform[:, group.rows(total)])
        loss = F.binary_cross_entropy_with_logits(self.logits(x0), batch.present, reduction="none")
        yield "main", loss.sum(1).mean()
