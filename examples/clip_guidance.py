"""CLIP guidance: without the prompt, with classifier-free guidance, and with both.

Draws 24 prompts with seeds 0 to 23 (sampler sde, 24 steps) in four ways. Prints the CLIP score of each with its 95 %
interval, and writes a sheet of the pictures.

    python examples/clip_guidance.py docs/guidance-clip.png
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unstir.diffusion.gradient_guidance import augmented_cosine, guide_by_gradient
from unstir.evaluate.metrics.retrieval import clip_score
from unstir.image.png import save_png
from unstir.image.sheet import sheet
from unstir.models.augment import JITTER_PARAMETERS, jitter
from unstir.models.pixels import to_pixels
from unstir.settings import DiffusionSettings
from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, load_clip, load_model

THINGS = (
    "red apple", "banana", "lemon", "pear", "carrot", "tomato", "mushroom", "fish", "whale", "penguin", "frog", "pig",
    "bear", "fox", "red heart", "blue heart", "star", "sun", "full moon", "balloon", "rocket", "green book",
    "evergreen tree", "cactus",
)  # fmt: skip
STYLE = "fluent 3d"
STEPS, VIEWS = 24, 4


def main(out: Path) -> None:
    model, clip = load_model(DEFAULT).model, load_clip(DEFAULT_CLIP)
    prompts = [f"{thing}, {STYLE}" for thing in THINGS]
    words = clip.embed_words(prompts)

    def draw(conditional: bool, guidance_scale: float, clip_scale: float) -> torch.Tensor:
        """Pictures (24, C, S, S). conditional: give the model the prompt.  clip_scale: of CLIP guidance."""
        settings = DiffusionSettings(steps=STEPS, sampler="sde", guidance_scale=guidance_scale)
        pictures = []
        for seed, prompt in enumerate(prompts):
            similarity = augmented_cosine(clip.embed_pictures, words[seed], seed, jitter, JITTER_PARAMETERS, VIEWS)
            wrap = partial(
                guide_by_gradient,
                towards=[similarity],
                scale=clip_scale,
                schedule=model.schedule,
                std=model.config.sigma_data,
            )
            cond = model.encode([prompt if conditional else ""])
            *_, last = model.sample(cond, [seed], settings, wrap=wrap if clip_scale else None)
            pictures.append(last.x0.float())
        return torch.cat(pictures).clamp(-1, 1)

    rows, captions = [], []
    for name, conditional, guidance_scale, clip_scale in (
        ("unconditional", False, 1.0, 0.0),
        ("unconditional, CLIP", False, 1.0, 2.0),
        ("guidance 2", True, 2.0, 0.0),
        ("guidance 2, CLIP", True, 2.0, 0.3),
    ):
        pictures = draw(conditional, guidance_scale, clip_scale)
        with torch.no_grad():
            score = clip_score(clip.embed_pictures(pictures).numpy(), words.numpy())
        print(f"{name:20} CLIP score {score.value:5.1f}  ({score.low:.1f} to {score.high:.1f})", flush=True)
        rows += list(to_pixels(pictures).numpy())
        captions += [f"{thing}: {name}" for thing in THINGS]
    # The four pictures of a prompt one below another.
    order = np.arange(len(rows)).reshape(4, 2, 12).transpose(1, 0, 2).ravel()
    page = sheet([rows[i] for i in order], columns=12, captions=[captions[i] for i in order], background="checker")
    save_png(out, page)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/clip_guidance.py OUT.png")
    main(Path(sys.argv[1]))
