"""Few-step weights for the default model: a LoRA is trained to follow its guided trajectories in four steps.

Run: python -m experiments.icons_step_distillation DATA RUN --out MODEL
DATA: the shards of unstir/recipes/icons.py. The same command resumes a run that was stopped.
Reached: see docs/log.md (2026-11-20).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from unstir.data.order import order
from unstir.data.pictures import Pictures
from unstir.data.sources import open_source
from unstir.files import write_atomic
from unstir.models.diffusion import Diffusion
from unstir.models.pixels import to_pixels
from unstir.models.step_distillation import StepDistillation, TrajectorySegments
from unstir.nn.lora import lora_weights
from unstir.recipes.icons_data import annotated, split_cells, weight
from unstir.scenes.planner import SceneMix, ScenePlanner
from unstir.scenes.scene import Drawing
from unstir.settings import DiffusionSettings
from unstir.train.batches import BatchSource
from unstir.train.config import TrainConfig
from unstir.train.kinds import Training, register
from unstir.train.loop import training_loop
from unstir.train.run import Run
from unstir.weights.model_file import DEFAULT, FewSteps, load_model, save_model

TEACHER = DiffusionSettings(steps=12, guidance_scale=3.0)
STUDENT_STEPS = 4
FEW_STEP_SETTINGS = DiffusionSettings(steps=STUDENT_STEPS, guidance_scale=1.0, sampler="ddim")
MAX_STEPS = 6
BATCH, RANK = 32, 16

KIND = "step distillation"
register(KIND, Training())


def sampled_captions(data: str, fits: Callable[[str], bool], count: int, seed: int) -> list[str]:
    """Captions of random scenes, distributed as in training."""
    metas = [annotated(entry.meta) for entry in open_source(data).entries]
    rows, _ = split_cells(metas)
    drawings = [_drawing(metas[row]) for row in rows]
    planner = ScenePlanner(drawings, SceneMix(), fits)
    index = np.repeat(np.arange(len(drawings)), [weight(metas[row]) for row in rows])
    rng = np.random.default_rng(seed)
    return [planner.scene(int(rng.choice(index)), rng).caption for _ in range(count)]


def _drawing(meta: dict[str, object]) -> Drawing:
    name, tags = str(meta["name"]), meta.get("tags")
    synonyms = tuple(str(tag) for tag in tags if tag != name) if isinstance(tags, list) else ()
    whole = (0.0, 0.0, 1.0, 1.0)  # the bounding box has no effect on captions
    return Drawing(
        name, synonyms, str(meta["phrase"]), str(meta["style"]), whole, bool(meta["thing"]), bool(meta["dark"])
    )


@torch.no_grad()
def teacher_trajectories(model: Diffusion, captions: list[str], seeds: list[int]) -> torch.Tensor:
    """(B, STUDENT_STEPS + 1, C, S, S): the states of the teacher at times 1, 3/4, 1/2, 1/4 and 0."""
    states = []
    for step in model.sample(model.encode(captions), seeds, TEACHER, exact=False):
        if step.i % (TEACHER.steps // STUDENT_STEPS) == 0:
            states.append(step.xt.clone())
    return torch.stack([*states, step.x0], dim=1)


def all_trajectories(model: Diffusion, captions: list[str], folder: Path) -> torch.Tensor:
    """The trajectories of all captions, float16. Each batch is saved to a file, and read from it the next time."""
    out = []
    for start in range(0, len(captions), BATCH):
        file = folder / f"{start:06d}.safetensors"
        if not file.exists():
            seeds = list(range(10**6 + start, 10**6 + min(start + BATCH, len(captions))))
            trajectories = teacher_trajectories(model, captions[start : start + BATCH], seeds)
            made = {"trajectories": trajectories.half().contiguous()}
            write_atomic(file, lambda temporary, made=made: save_file(made, temporary))  # type: ignore[misc]
            print(f"trajectories: {start + BATCH} of {len(captions)}", flush=True)
        out.append(load_file(file)["trajectories"])
    return torch.cat(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train few-step weights for the default model.")
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trajectories", type=int, default=768)
    parser.add_argument("--passes", type=float, default=3.0)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)

    loaded = load_model(arguments.model, dtype=torch.float32)
    model = loaded.model

    def fits(caption: str) -> bool:
        return bool(len(model.tokenizer.tokens(caption)) <= model.config.text.length)

    captions = sampled_captions(arguments.data, fits, arguments.trajectories, 100)
    states = all_trajectories(load_model(arguments.model).model, captions, arguments.run / "trajectories")
    ids, times = model.tokenize(captions), torch.linspace(1, 0, STUDENT_STEPS + 1)

    images = int(len(states) * STUDENT_STEPS * arguments.passes) // BATCH * BATCH
    config = TrainConfig(
        images=images, batch_size=BATCH, optimiser="adamw", adamw_lr=1e-3, warmup=20 * BATCH, cooldown=0.5,
        ema=0.1, log_every=20 * BATCH, save_every=20 * BATCH, sample_every=10**9,
    )  # fmt: skip

    def next_batch(images_seen: int) -> TrajectorySegments:
        rows = torch.from_numpy(order(len(states) * STUDENT_STEPS, config.seed, images_seen, BATCH))
        path, k = rows // STUDENT_STEPS, rows % STUDENT_STEPS
        return TrajectorySegments(
            states[path, k].float(), states[path, k + 1].float(), times[k], times[k + 1], ids[path]
        )

    ends = to_pixels(states[:, -1].float()).numpy()
    pictures = Pictures(
        ends, [(text or "nothing",) for text in captions], [str(i) for i in range(len(captions))], [{}] * len(captions)
    )
    run = Run(arguments.run, StepDistillation(model, RANK), pictures, config, BatchSource(next_batch), KIND)
    for progress in training_loop(run):
        print(
            f"{progress.images_seen} of {images}: {progress.loss:.5f}, {progress.seconds_left:.0f} s left", flush=True
        )
    with run.evaluating() as distilled:
        few = FewSteps(MAX_STEPS, FEW_STEP_SETTINGS, lora_weights(distilled.model.network))
    plain = load_model(arguments.model, dtype=torch.float32)
    save_model(arguments.out, plain.model, settings=plain.settings, notes=plain.notes, dtype=torch.int8, few=few)
    print(arguments.out)


if __name__ == "__main__":
    main()
