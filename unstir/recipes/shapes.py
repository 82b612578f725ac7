"""Coloured shapes, counts and relations, 32×32 pixels: `unstir train shapes --recipe shapes --run runs/shapes`.

Score a trained model with the exact checker: python -m unstir.recipes.shapes runs/shapes
Reached: single 100 %, count 85 %, two 35 %, relation 13 %; on held-out combinations 95, 88, 21, 8 %; 35 minutes on one
core (2026-11-20).
"""

import sys
from pathlib import Path

import numpy as np

from unstir.models.diffusion import DiffusionConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.settings import DiffusionSettings
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe


def shapes() -> Recipe:
    """A small U-Net; 110,000 pictures."""
    return Recipe(
        model=DiffusionConfig(
            UNetConfig(32, 3, patch=2, widths=(48, 96, 192), blocks=(1, 1, 2), words=192),
            TextConfig(vocabulary=320, length=24, width=192, depth=2),
        ),
        train=TrainConfig(
            images=110_000,
            batch_size=64,
            warmup=6_400,
            cooldown=0.3,
            log_every=2_048,
            sample_every=40_000,
            save_every=20_000,
        ),
        prompts=(
            "a red circle",
            "a small blue square",
            "a large green triangle",
            "a yellow cross",
            "three blue squares",
            "two red crosses",
            "a red circle left of a blue square",
            "a green triangle above a yellow cross",
        ),
        settings=DiffusionSettings(steps=24, guidance_scale=2.0),
    )


def skill_accuracy(model: Path, each: int = 100, seed: int = 1) -> dict[str, dict[str, float]]:
    """The fraction of pictures in which the exact checker finds what the prompt says, by split and skill.

    model: a model file or a run folder.
    each: prompts for each skill and split.
    Returns the splits "as trained" and "held out".
    """
    from unstir.data.shapes import SKILLS, caption, random_scene
    from unstir.data.shapes_check import check_caption
    from unstir.models.generative import final
    from unstir.weights.model_file import load_model

    loaded = load_model(model)
    table: dict[str, dict[str, float]] = {}
    for split, held_out in (("as trained", False), ("held out", True)):
        table[split] = {}
        for number, skill in enumerate(SKILLS):
            rng = np.random.default_rng([seed, number, held_out])
            prompts = [caption(random_scene(skill, rng, held_out)) for _ in range(each)]
            pictures = final(loaded.model.draw(prompts, range(each), loaded.settings, exact=False))
            right = [check_caption(picture, prompt).right for picture, prompt in zip(pictures, prompts, strict=True)]
            table[split][skill] = sum(right) / each
    return table


if __name__ == "__main__":
    for split, skills in skill_accuracy(Path(sys.argv[1])).items():
        print(f"{split}: " + ", ".join(f"{skill} {accuracy:.1%}" for skill, accuracy in skills.items()))
