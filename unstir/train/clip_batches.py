"""Batches of pictures and captions for CLIP, and which captions are true of which pictures of a batch."""

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
    """Batches on the model's device; this process's rows of each where several share it.

    Always with words, whatever `config.caption_dropout`. Pictures may be larger than the model reads, by a whole
    factor.
    config.batch_size: of all processes together.
    ValueError, when a batch is asked for, if pictures are of another size or number of channels, or do not share
    equally.
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
    """(B, B) bool: whether caption i is also true of picture j, being one of its alternatives. The diagonal is True.

    A caption is no negative of a picture that it also describes.
    """
    said: dict[str, list[int]] = defaultdict(list)
    for i, caption in enumerate(captions):
        said[caption].append(i)
    true_of: dict[str, list[int]] = defaultdict(list)
    for j, ways in enumerate(alternatives):
        for way in ways:
            if way in said:
                true_of[way].append(j)
    same = np.eye(len(captions), len(alternatives), dtype=np.bool_)
    for caption, places in true_of.items():
        same[np.ix_(said[caption], places)] = True
    return torch.from_numpy(same)


def resize_to(x0: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Pictures of this shape (C, S, S), each pixel the mean of those that it replaces.

    x0: (B, C, kS, kS), premultiplied, k a whole number; ValueError otherwise.
    """
    channels, side, _ = shape
    if x0.shape[1] != channels or x0.shape[2] != x0.shape[3] or x0.shape[3] % side:
        raise ValueError(
            f"pictures of shape {tuple(x0.shape[1:])} cannot be made {shape}: give {channels} channels "
            f"and a side that is a multiple of {side}"
        )
    return resized(x0, side)
