"""Guidance of the default model compared: classifier-free, within an interval of times, and autoguidance.

All settings use the same prompts and seeds, half of training captions, half of held-out ones. The weaker model of
autoguidance (Karras et al. 2024) is the model with the matrices of its blocks rounded to three bits, or another model.
Run: python -m experiments.icons_guidance DATA [-n 150] [--weak MODEL]   (DATA: the shards of unstir/recipes/icons.py)
Reached: see docs/log.md (2026-11-20).
"""

import argparse
import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from experiments.drawing import draw_batches
from unstir.data.packing import pack
from unstir.data.pictures import Pictures
from unstir.data.sources import open_source
from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.guidance import autoguide, clip_range
from unstir.evaluate.metrics.kernel_distance import kernel_distance
from unstir.evaluate.metrics.retrieval import text_ranks
from unstir.evaluate.run.features import ClipFeatures, scaled_features
from unstir.evaluate.statistics.bootstrap import bootstrap_interval
from unstir.models.diffusion import Diffusion
from unstir.recipes.icons_data import is_flag, split_cells
from unstir.settings import DiffusionSettings
from unstir.weights.model_file import DEFAULT, DEFAULT_CLIP, load_clip, load_model

COARSE = 3
"""Each weight of the weaker model is one of 2 · COARSE + 1 values a row."""

SETTINGS = (
    "1", "2", "3", "4", "5", "3 in 0 … 0.8", "3 in 0.2 … 1", "3 in 0.2 … 0.8", "5 in 0.2 … 0.8", "5 in 0.4 … 0.9",
    "weak 1.5", "weak 2", "weak 3", "2, weak 2",
)  # fmt: skip


@dataclass(frozen=True)
class GuidanceSetting:
    """One setting of guidance.

    scale, times: of classifier-free guidance.
    away: scale of autoguidance; 1 is off.
    """

    scale: float = 1.0
    times: tuple[float, float] = (0.0, 1.0)
    away: float = 1.0

    @classmethod
    def read(cls, text: str) -> "GuidanceSetting":
        """A setting from its text, as in SETTINGS."""
        found = cls()
        for part in text.split(", "):
            match part.split():
                case ["weak", away]:
                    found = replace(found, away=float(away))
                case [scale, "in", low, "…", high]:
                    found = replace(found, scale=float(scale), times=(float(low), float(high)))
                case [scale]:
                    found = replace(found, scale=float(scale))
                case _:
                    raise ValueError(f"{part!r} is not a setting")
        return found


@torch.no_grad()
def coarse(model: Diffusion) -> Diffusion:
    """The model with every matrix of its picture blocks rounded to a few values a row."""
    weak = copy.deepcopy(model)
    for name, weight in weak.network.named_parameters():
        if weight.ndim == 2 and "blocks" in name:
            step = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / COARSE
            weight.copy_((weight.float() / step).round() * step)
    return weak


def guided_denoiser(model: Diffusion, weak: Diffusion, setting: GuidanceSetting) -> Denoiser:
    """The denoiser with classifier-free guidance, then with autoguidance, as the setting says."""
    good = model.guided(DiffusionSettings(guidance_scale=setting.scale, interval=setting.times), exact=False)
    if setting.away == 1:
        return good
    return clip_range(autoguide(good, weak.denoiser(), setting.away))


@dataclass(frozen=True)
class SidePrompts:
    """The prompts of one side, training or held out.

    captions: the prompts.
    everything: vectors of all captions to search among.
    rows: of the prompts in `everything`.
    real: vectors of real pictures.
    """

    captions: list[str]
    everything: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    real: npt.NDArray[np.float32]


def side_prompts(
    pictures: Pictures, clip: ClipFeatures, rows: npt.NDArray[np.int64], count: int, candidates: int
) -> SidePrompts:
    """Prompts from the captions of these rows, in a fixed random order.

    count: of the prompts.
    candidates: number of captions to search among.
    """
    captions = [pictures.captions[row][0] for row in np.random.default_rng(0).permutation(rows)]
    distinct = list(dict.fromkeys(captions))[:candidates]
    return SidePrompts(
        distinct[:count],
        clip.of_texts(distinct),
        np.arange(count),
        clip.of_pictures(pictures.pixels[np.random.default_rng(1).permutation(rows)[:candidates]]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Guidance of the default model.")
    parser.add_argument("data")
    parser.add_argument("-n", type=int, default=150, help="prompts from training captions, and from held-out ones")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--weak", type=Path, help="a weaker model; default: the model itself, rounded")
    parser.add_argument("--settings", default="; ".join(SETTINGS), help="separated by semicolons")
    arguments = parser.parse_args()

    loaded = load_model(arguments.model)
    model = loaded.model
    weak = load_model(arguments.weak).model if arguments.weak else coarse(model)
    clip = ClipFeatures(load_clip(DEFAULT_CLIP))
    pictures, _ = pack(open_source(arguments.data), model.shape[-1], model.shape[0])
    trained, held = split_cells(pictures.meta)
    trained = np.array([row for row in trained if not is_flag(pictures.meta[row])])
    sides = {
        name: side_prompts(pictures, clip, rows, arguments.n, len(held))
        for name, rows in (("seen", trained), ("held out", held))
    }
    print("| guidance | s a picture |" + "".join(f" {name}: score | R@1 | R@5 | KID |" for name in sides))
    print("|---|---|" + "---|" * 4 * len(sides))
    for text in arguments.settings.split("; "):
        denoise = guided_denoiser(model, weak, GuidanceSetting.read(text))
        settings = replace(loaded.settings, steps=arguments.steps)
        began, cells = time.perf_counter(), []
        for side in sides.values():
            seeds = range(len(side.captions))
            pixels = draw_batches(model, side.captions, seeds, settings, lambda _, denoise=denoise: denoise)  # type: ignore[misc]
            made = clip.of_pictures(pixels)
            scores = 100 * (made * side.everything[side.rows]).sum(1)
            score = bootstrap_interval(lambda rows: float(rows.mean()), [scores], 1000, 0)
            before = text_ranks(made, side.everything, side.rows)
            distance = kernel_distance(scaled_features(side.real), scaled_features(made)).value
            cells.append(
                f" {score.value:.1f} ({score.low:.1f} – {score.high:.1f}) | {(before < 1).mean():.2f} |"
                f" {(before < 5).mean():.2f} | {distance:.3f} |"
            )
        seconds = (time.perf_counter() - began) / 2 / arguments.n
        print(f"| {text} | {seconds:.2f} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
