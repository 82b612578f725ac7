"""Batches for CLIP: pictures, captions, and which captions are true of which pictures of the batch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unstir.data.pictures import Pictures
from unstir.models.clip import Clip, ClipBatch
from unstir.models.pixels import resized, to_model
from unstir.models.process_group import process_group
from unstir.train.batches import BatchSource, captions_at, rows_at, split
from unstir.train.config import TrainConfig


def clip_batches(pictures: Pictures, model: Clip, config: TrainConfig) -> BatchSource:
    """Batches on the model's device; with several processes, the rows of this one. No caption is dropped.

    pictures: of the model's size, or a whole multiple of it.
    config: `batch_size` is that of all processes together; `caption_dropout` is ignored.
    ValueError, when a batch is made, if the pictures have another size or number of channels, or the batch cannot be
    divided equally among the processes.
    """
    trained, _ = split(pictures, config)
    always = replace(config, caption_dropout=0.0)

    def next_batch(images_seen: int) -> ClipBatch:
        rows = rows_at(trained, config, images_seen)
        alternatives = [pictures.captions[row] for row in rows]
        captions = captions_at(alternatives, always, images_seen)
        mine = process_group().rows(len(rows))
        pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows[mine]])).to(model.device)
        same = matching_pairs(captions, alternatives).to(model.device)
        return ClipBatch(resize_to(to_model(pixels), model.shape), model.tokenize(captions[mine]), same)

    return BatchSource(next_batch)


def matching_pairs(captions: Sequence[str], alternatives: Sequence[Sequence[str]]) -> Tensor:
    """(B, B) bool: whether caption i is one of the captions of picture j. The diagonal is True.

    Such a pair is not used as a negative.
    captions: of the batch.
    alternatives: all captions of each picture of the batch.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, caption in enumerate(captions):
        rows_of[caption].append(i)
    true_of: dict[str, list[int]] = defaultdict(list)
    for j, ways in enumerate(alternatives):
        for way in ways:
            if way in rows_of:
                true_of[way].append(j)
    same = np.eye(len(captions), len(alternatives), dtype=np.bool_)
    for caption, columns in true_of.items():
        same[np.ix_(rows_of[caption], columns)] = True
    return torch.from_numpy(same)


def resize_to(x0: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Pictures reduced to another size by averaging blocks of pixels.

    x0: (B, C, kS, kS), premultiplied, k a whole number; ValueError otherwise.
    shape: (C, S, S).
    Returns (B, C, S, S).
    """
    channels, side, _ = shape
    if x0.shape[1] != channels or x0.shape[2] != x0.shape[3] or x0.shape[3] % side:
        raise ValueError(
            f"pictures of shape {tuple(x0.shape[1:])} cannot be made {shape}: give {channels} channels "
            f"and a side that is a multiple of {side}"
        )
    return resized(x0, side)
