"""Codecs: from pictures to the space that a model works in, and back.

A codec encodes and decodes, and keeps a predicted x0 within the range of the latents. Samplers do not use it.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.guidance import clip_range, dynamic_threshold
from unstir.models.generative import Pixels
from unstir.models.pixels import to_model, to_pixels


class Codec(Protocol):
    """The interface of a codec; a torch module if it has weights."""

    def latent_shape(self, picture: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the latent of one picture of this (channels, height, width)."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C), straight alpha -> latents (B, *latent_shape)."""
        ...

    def decode(self, latent: Tensor) -> Pixels:
        """Latents (B, *latent_shape) -> uint8 (B, H, W, C), straight alpha.

        Each picture is a function of its own latent, to the bit, whatever else is in the batch.
        """
        ...

    def bounded(self, denoise: Denoiser, threshold: float = 1.0) -> Denoiser:
        """The denoiser with its predictions kept within the range of the latents, where they have one.

        threshold: percentile of dynamic thresholding in (0, 1], 1 = plain clipping. ValueError where a codec's latents
        have no range and it is not 1.
        """
        ...


class PixelCodec(nn.Module):
    """The identity: pictures as floats in [-1, 1], premultiplied alpha."""

    def latent_shape(self, picture: tuple[int, int, int]) -> tuple[int, int, int]:
        return picture

    def encode(self, pixels: Tensor) -> Tensor:
        return to_model(pixels)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Pixels:
        pixels: Pixels = to_pixels(latent).cpu().numpy()
        return pixels

    def bounded(self, denoise: Denoiser, threshold: float = 1.0) -> Denoiser:
        return clip_range(denoise) if threshold == 1 else dynamic_threshold(denoise, threshold)
