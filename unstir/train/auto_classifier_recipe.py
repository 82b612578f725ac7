"""The automatic recipe of a word classifier, and its preview."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.image.sheet import sheet
from unstir.models.pixels import to_model
from unstir.models.word_classifier import WordClassifier, WordClassifierConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.text.vocabulary import vocabulary, words_of
from unstir.train.auto_recipe import batch_size, validation_settings
from unstir.train.config import TrainConfig
from unstir.train.kinds import Preview, SizeName
from unstir.train.recipe import Recipe

MOST_WORDS = 512

WIDTHS: dict[SizeName, int] = {"s": 32, "m": 64, "l": 96}
"""Of the finest scale."""

COARSEST = 4
"""Positions along a side of the last scale, at least."""

SHOWN = 16
"""Pictures in the preview."""


def telling_words(pictures: Pictures) -> tuple[str, ...]:
    """The words by which captions differ, the most frequent first, each of two captions or more."""
    captions = [ways[0] for ways in pictures.captions]
    in_all = set.intersection(*(set(words_of(caption)) for caption in captions))
    return tuple(word for word in vocabulary(captions, min_count=2) if word not in in_all)[:MOST_WORDS]


def classifier_recipe(pictures: Pictures, size: SizeName) -> Recipe:
    """A recipe for a word classifier, without its number of pictures. ValueError where all captions say the same."""
    words = telling_words(pictures)
    if not words:
        raise ValueError("all captions say the same, so there is nothing to classify")
    side, channels = pictures.pixels.shape[1], pictures.pixels.shape[3]
    patch = 1 if side < 32 else 2
    widths = [WIDTHS[size]]
    while side // patch // 2 ** (len(widths) - 1) > COARSEST and side // patch % 2 ** len(widths) == 0:
        widths.append(min(2 * widths[-1], 4 * WIDTHS[size]))
    network = ConvNetConfig(channels, latent=4 * WIDTHS[size], patch=patch, widths=tuple(widths), blocks=1)
    return Recipe(
        model=WordClassifierConfig(side, network, words),
        train=TrainConfig(
            images=1,
            batch_size=batch_size(64, pictures),
            caption_dropout=0.0,
            weight_decay=0.05,
            **validation_settings(pictures),
        ),
    )


@torch.no_grad()
def words_sheet(model: WordClassifier, preview: Preview) -> NDArray[np.uint8]:
    """A contact sheet of pictures, each with the words that the model finds in it."""
    found = preview.pictures
    rows = range(0, len(found), max(1, len(found) // SHOWN))[:SHOWN]
    pixels = np.ascontiguousarray(found.pixels[list(rows)])
    probability = model.logits(to_model(torch.from_numpy(pixels).to(model.device))).sigmoid().cpu()
    captions: Sequence[str] = [
        " ".join(word for word, p in zip(model.config.words, row, strict=True) if p > 0.5) for row in probability
    ]
    scale = max(1, 96 // pixels.shape[1])
    return sheet(list(pixels), columns=8, captions=captions, scale=scale, background="checker")
