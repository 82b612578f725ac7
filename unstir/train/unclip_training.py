"""Training an unCLIP model: the ridge regression of its prior."""

from collections.abc import Callable

import numpy as np
import torch

from unstir.data.pictures import Pictures
from unstir.models.pixels import to_model
from unstir.models.unclip import Unclip

CHUNK = 64
MOST_CAPTIONS = 4
"""Captions of each picture that the ridge regression is fitted to."""


@torch.no_grad()
def fit_prior(model: Unclip, pictures: Pictures, progress: Callable[[int, int], None]) -> None:
    """Fit the ridge regression and the standardisation of the prior to pictures and their captions.

    progress: called with (done, total).
    """
    texts, found = [], []
    for start in range(0, len(pictures), CHUNK):
        pixels = torch.from_numpy(np.array(pictures.pixels[start : start + CHUNK])).to(model.device)
        z = model.embed_pictures(to_model(pixels))
        for row, ways in enumerate(pictures.captions[start : start + CHUNK]):
            kept = ways[:MOST_CAPTIONS]
            texts.append(model.clip.embed_ids(model.tokenize(kept)))
            found.append(z[row].expand(len(kept), -1))
        progress(min(start + CHUNK, len(pictures)), len(pictures))
    model.prior.fit(torch.cat(texts), torch.cat(found))
