"""A perceptual distance between pictures: in the features of an image encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.models.pixels import resized, with_channels
from unstir.nn.vision import VisionTransformer


class Perceptual(nn.Module):
    """The squared distance of unit vectors, averaged over patches and blocks of a frozen vision transformer.

    vision: of a CLIP, for example. It is frozen.
    Source: after Zhang et al. 2018 (LPIPS), without its learned weights.
    """

    def __init__(self, vision: VisionTransformer) -> None:
        super().__init__()
        self.vision = vision.requires_grad_(False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """The mean distance, a scalar. made, real: (B, C, S, S) in [-1, 1], premultiplied if C = 4."""
        config = self.vision.config
        with torch.no_grad():
            wanted = self.vision.features(resized(with_channels(real, config.channels), config.size))
        given = self.vision.features(resized(with_channels(made, config.channels), config.size))
        distances = [_unit(a).sub(_unit(b)).square().sum(-1).mean() for a, b in zip(given, wanted, strict=True)]
        return torch.stack(distances).mean()


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)
