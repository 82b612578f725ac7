"""CLIP: a training step, and embedding pictures and texts, against open_clip with the same architecture.

    python -m benchmarks.clip [--device cpu] [--dtype float32] [--rounds 7]

Both train with the same optimiser of torch and their own loss. They are measured alternately, so that other load on
the machine affects both. Ratios are medians over the rounds of their time / our time in the same round: above 1, ours
is faster. Needs open_clip; without it the benchmark prints how to install it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.peers import open_clip
from unstir.models.clip import Clip, ClipBatch, ClipConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer

HEAD = 64  # channels of an attention head
SHORT = 12  # tokens of a short caption; open_clip computes its padding too


@dataclass(frozen=True)
class Shape:
    """The size of both encoders, and of a batch in pairs."""

    name: str
    size: int
    patch: int
    width: int
    depth: int
    text_width: int
    text_depth: int
    length: int
    vocabulary: int
    batch: int


SHAPES = (
    Shape("64 px icons", 64, 8, 256, 7, 256, 3, 40, 4096, 32),
    Shape("ViT-B/32", 224, 32, 768, 12, 512, 12, 77, 49408, 4),
)


def ours(shape: Shape) -> Clip:
    vision = VisionConfig(
        shape.size, 3, shape.patch, shape.width, shape.depth, shape.width // HEAD, mlp=4 * shape.width
    )
    text = ClipTextConfig(
        shape.vocabulary,
        shape.length,
        shape.text_width,
        shape.text_depth,
        shape.text_width // HEAD,
        mlp=4 * shape.text_width,
        causal=True,
        pool="argmax",
    )
    model = Clip(ClipConfig(vision, text, width=512), Tokenizer.train(["unused"]))
    initialise(model, 0)
    return model


def theirs(shape: Shape) -> nn.Module:
    vision = {
        "image_size": shape.size,
        "patch_size": shape.patch,
        "width": shape.width,
        "layers": shape.depth,
        "head_width": HEAD,
    }
    text = {
        "context_length": shape.length,
        "vocab_size": shape.vocabulary,
        "width": shape.text_width,
        "heads": shape.text_width // HEAD,
        "layers": shape.text_depth,
    }
    model: nn.Module = open_clip().CLIP(512, vision, text)
    return model


def contestants(
    shape: Shape, device: torch.device, mixed: Callable[[], AbstractContextManager[object]]
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Task -> our run and theirs, on the same batch."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(shape.batch, 3, shape.size, shape.size, generator=generator) * 2 - 1).to(device)
    end = shape.vocabulary - 1
    full = torch.randint(1, end, (shape.batch, shape.length), generator=generator).to(device)
    short = full.clone()
    short[:, SHORT:], short[:, SHORT - 1], full[:, -1] = 0, end, end
    same = torch.eye(shape.batch, dtype=torch.bool, device=device)
    a, b = ours(shape).to(device), theirs(shape).to(device)
    counts = [sum(p.numel() for p in model.parameters()) for model in (a, b)]
    assert counts[0] == counts[1], counts
    optimisers = [torch.optim.AdamW(model.parameters(), lr=1e-5) for model in (a, b)]
    contrast = open_clip().ClipLoss()

    def step(optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
        optimiser.zero_grad()
        with mixed():
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def our_step(ids: Tensor) -> None:
        step(optimisers[0], lambda: next(a.losses(ClipBatch(x, ids, same), generator))[1])

    def their_step(ids: Tensor) -> None:
        step(optimisers[1], lambda: contrast(*b(x, ids)))
        with torch.no_grad():
            b.logit_scale.clamp_(0, 4.6052)

    @torch.inference_mode()
    def alone(run: Callable[[], object]) -> None:
        with mixed():
            run()

    tasks: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "embed pictures": (
            lambda: alone(lambda: a.embed_pictures(x)),
            lambda: alone(lambda: b.encode_image(x, normalize=True)),
        )
    }
    for name, ids in (("full", full), ("short", short)):
        tasks[f"training step, {name} texts"] = partial(our_step, ids), partial(their_step, ids)
        tasks[f"embed {name} texts"] = (
            partial(alone, partial(a.embed_ids, ids)),
            partial(alone, partial(b.encode_text, ids, normalize=True)),
        )
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="bfloat16: by autocast, as in training on a GPU")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    try:
        open_clip()
    except ImportError as error:
        print(f"open_clip is missing ({error}): pip install --no-deps open_clip_torch ftfy wcwidth")
        return

    def mixed() -> AbstractContextManager[object]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)

    def seconds(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    print(f"{arguments.device}, {arguments.dtype}, {torch.get_num_threads()} threads, medians of {arguments.rounds}")
    print(f"{'':36s}{'unstir':>12s}{'open_clip':>12s}{'ratio':>8s}")
    for shape in SHAPES:
        print(f"{shape.name}, {shape.batch} at a time")
        for name, (mine, peer) in contestants(shape, device, mixed).items():
            rows: list[tuple[float, float]] = []
            for round_ in range(arguments.rounds + 2):
                # The order alternates too, because the second finds the cache in another state.
                first, second = (mine, peer) if round_ % 2 else (peer, mine)
                times = seconds(first), seconds(second)
                if round_ >= 2:
                    rows.append(times if round_ % 2 else times[::-1])
            rates = [shape.batch / statistics.median(column) for column in zip(*rows, strict=True)]
            ratio = statistics.median(b / a for a, b in rows)
            print(f"  {name:34s}{rates[0]:10.1f}/s{rates[1]:10.1f}/s{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
