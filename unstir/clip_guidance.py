"""A CLIP beside a model that draws: it scores the pictures, and guides them towards the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.gradient_guidance import augmented_cosine, guide_by_gradient
from unstir.errors import UserError
from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.clip import Clip
from unstir.models.diffusion import Diffusion
from unstir.models.generative import Pixels
from unstir.models.pixels import resized, to_model
from unstir.request import ClipGuidance, fingerprint
from unstir.weights.model_file import DEFAULT_CLIP, find_model, load_clip

VIEWS, MAX_VIEWS = 8, 64
"""How many views of every predicted picture CLIP guidance takes, and may be asked for."""


@dataclass(frozen=True, eq=False)
class ClipScorer:
    """A CLIP that reads the pictures of a model that draws. path: of its file."""

    clip: Clip
    path: Path

    def score(self, prompt: str) -> Callable[[Pixels], float]:
        """A function of one picture (1, H, W, C) uint8: 100 times its cosine with the words."""
        words, side = self.clip.embed_words([prompt])[0], self.clip.shape[-1]

        @torch.no_grad()
        def cosine(pixels: Pixels) -> float:
            x0 = to_model(torch.from_numpy(pixels)).to(words)
            return 100 * float(self.clip.embed_pictures(resized(x0, side))[0] @ words)

        return cosine

    def settings(self, scale: float) -> ClipGuidance:
        """What a request says of its CLIP guidance."""
        return ClipGuidance(scale, VIEWS, self.path.stem, fingerprint(self.path))

    def guidance(
        self, model: Diffusion, prompts: Sequence[str], seeds: Sequence[int], asked: ClipGuidance
    ) -> Callable[[Denoiser], Denoiser]:
        """The wrapper of a denoiser that a request asks for. UserError for too many views."""
        side = self.clip.shape[-1]
        if not 1 <= int(asked.views) <= MAX_VIEWS:
            raise UserError(f"CLIP guidance takes 1 to {MAX_VIEWS} views, not {asked.views}")

        def embed(pictures: Tensor) -> Tensor:
            return self.clip.embed_pictures(resized(pictures, side))

        words = self.clip.embed_words(prompts)
        towards = [
            augmented_cosine(embed, target, seed, jitter, JITTER_PARAMETERS, int(asked.views))
            for target, seed in zip(words, seeds, strict=True)
        ]
        std = model.config.sigma_data
        return partial(guide_by_gradient, towards=towards, scale=float(asked.scale), schedule=model.schedule, std=std)


def open_clip_scorer(clip: Path | None, shape: tuple[int, int, int]) -> ClipScorer:
    """The CLIP of this path, or the one that ships with the package.

    shape: of the pictures that it is to read, (C, S, S).
    UserError where it cannot read them.
    """
    if clip is None and not DEFAULT_CLIP.exists():
        raise UserError("this installation ships no CLIP; name one with --clip")
    path = find_model(clip or DEFAULT_CLIP)
    # On the CPU wherever the model is: there its gradient has the same bits every time.
    scorer = ClipScorer(load_clip(path), path)
    reads: Any = scorer.clip.shape[0]
    if reads != shape[0]:
        raise UserError(
            f"{path} reads pictures of {reads} channels and this model draws {shape[0]}; name another --clip"
        )
    return scorer
