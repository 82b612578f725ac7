"""How a picture came out of the noise: every step of a sampler, on one page or as an animation."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from unstir.errors import UserError
from unstir.files import replacing
from unstir.image.lettering import Lettering, line_height, shortened
from unstir.image.png import Pixels, checked
from unstir.image.sheet import Grid, enlarged, over, with_alpha

_STEPS_A_BAND = 16
_CURVE = (31, 119, 180)
_RULE = (222, 222, 222)
_INK = (48, 48, 48)
_FINE = 4  # the curve is drawn this many times larger and shrunk, which makes it smooth
_LONGEST_FRAME = 60.0  # seconds; APNG counts milliseconds in 16 bits


def film_strip(
    frames: Sequence[tuple[Pixels, Pixels]],
    labels: Sequence[str] | None = None,
    scale: int = 1,
    values: Sequence[float] | None = None,
    value_label: str = "",
) -> Pixels:
    """Draw the steps of a sampler from left to right: x_t above, the predicted x0 below.

    frames: one (x_t, x0) a step, each uint8 (H, W, 3 | 4); transparency shows a checkerboard.
    labels: one a step, e.g. "t = 0.75"; None counts 1, 2, …. scale: whole number >= 1, pixels are repeated.
    values: one number a step, drawn as a curve under its column, e.g. the similarity to the prompt; a value that is
        not finite leaves a hole. value_label: what the number is.

    More than 16 steps go into several bands of equal length. Returns uint8 (H, W, 3).
    Raises ValueError if there is no step or the numbers of things differ.
    """
    if not frames:
        raise ValueError("a film strip needs at least one step")
    captions = [str(number + 1) for number in range(len(frames))] if labels is None else list(labels)
    if len(captions) != len(frames):
        raise ValueError(f"{len(captions)} labels for {len(frames)} steps")
    if values is not None and len(values) != len(frames):
        raise ValueError(f"{len(values)} values for {len(frames)} steps")
    low, high = _range(values or [])
    ticks = [] if values is None else [value_label, _number(low), _number(high)]
    length = math.ceil(len(frames) / math.ceil(len(frames) / _STEPS_A_BAND))
    everything = [picture for frame in frames for picture in frame]
    grid = Grid.around(everything, length, captions, ["x_t", "x0", *ticks], scale)
    bands: list[Pixels] = []
    for start in range(0, len(frames), length):
        steps = slice(start, start + length)
        if bands:
            bands.append(np.full((2 * grid.font_size, grid.width, 3), 255, np.uint8))
        bands.append(grid.drawn([xt for xt, _ in frames[steps]], None, ["x_t"], "checker"))
        bands.append(grid.drawn([x0 for _, x0 in frames[steps]], captions[steps], ["x0"], "checker"))
        if values is not None:
            bands.append(_curve(grid, values[steps], low, high, value_label))
    return np.concatenate(bands)


def trace_frames(frames: Sequence[tuple[Pixels, Pixels]]) -> list[Pixels]:
    """Put x_t and the predicted x0 side by side, for `animate`.

    frames: one (x_t, x0) a step, both of the same shape, uint8 (H, W, 3 | 4).
    Returns one (H, 2·W + W // 16, 3 | 4) a step; the gap is transparent, or white where there is no alpha.
    Raises ValueError if the two shapes of a step differ.
    """
    joined = []
    for xt, x0 in frames:
        if checked(xt).shape != checked(x0).shape:
            raise ValueError(f"x_t {xt.shape} and x0 {x0.shape} differ in shape")
        height, width, channels = xt.shape
        gap = np.full((height, max(1, width // 16), channels), 255 if channels == 3 else 0, np.uint8)
        joined.append(np.concatenate([xt, gap, x0], axis=1))
    return joined


def animate(
    path: Path, frames: Sequence[Pixels], seconds_per_frame: float = 0.12, hold: float = 1.5, scale: int = 1
) -> None:
    """Write an endless animation, atomically; the suffix chooses the format.

    .png (APNG) and .webp keep every pixel and its alpha; .gif has 256 colours a frame, and lies on white because
    it knows no half transparency. frames: uint8 (H, W, 3 | 4), all of one height and width.
    seconds_per_frame, hold: how long a frame and the last frame (at least) stay, up to 60 s; a GIF counts in 1/100 s.
    A frame equal to the one before it is not stored again: that one stays longer instead.

    Raises UserError for another suffix, ValueError for frames that differ in size or a time out of range,
    OSError if the disk refuses.
    """
    kind = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} has no suffix of an animation; give a name that ends in .png, .webp or .gif.")
    if not frames or len({checked(frame).shape[:2] for frame in frames}) != 1:
        raise ValueError("an animation needs at least one frame, and all of one size")
    if scale < 1 or not (0 < seconds_per_frame <= _LONGEST_FRAME and 0 <= hold <= _LONGEST_FRAME):
        raise ValueError(f"scale must be >= 1 and times within 60 s, not {scale}, {seconds_per_frame} and {hold}")
    tick = 10 if kind == "GIF" else 1  # ms
    # Browsers show a GIF frame of less than 20 ms for 100 ms.
    spans = [max(round(1000 * seconds_per_frame / tick), 2 if kind == "GIF" else 1) * tick] * len(frames)
    spans[-1] = max(spans[-1], round(1000 * hold / tick) * tick)
    images = [Image.fromarray(enlarged(frame, scale)) for frame in _alike(frames, opaque=kind == "GIF")]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    with replacing(path) as temporary:
        images[0].save(
            temporary, format=kind, save_all=True, append_images=images[1:], duration=spans, loop=0, **options
        )


def _alike(frames: Sequence[Pixels], opaque: bool) -> Sequence[Pixels]:
    """Give all frames the same channels; `opaque` lays them over white."""
    if opaque:
        return [over(frame, np.full((*frame.shape[:2], 3), 255, np.uint8)) for frame in frames]
    return [with_alpha(frame) for frame in frames] if any(frame.shape[2] == 4 for frame in frames) else frames


def _range(values: Sequence[float]) -> tuple[float, float]:
    finite = [float(value) for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)


def _number(value: float) -> str:
    return f"{value:.3g}"


def _curve(grid: Grid, values: Sequence[float], low: float, high: float, label: str) -> Pixels:
    """A line plot (H, grid.width, 3) with one point under each column, from `low` at its foot to `high` at its top."""
    line = line_height(grid.font_size)
    height = max(4 * line, min(grid.cell_height, 96))
    top, foot = line / 2, height - line / 2
    page = height + grid.gap
    image = Image.new("RGB", (_FINE * grid.width, _FINE * page), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for y in (top, foot):
        draw.line([_fine(grid.left(0), y), _fine(grid.left(grid.columns) - grid.gap, y)], fill=_RULE, width=_FINE)
    points: list[tuple[float, float] | None] = []
    for column, value in enumerate(values):
        share = (value - low) / (high - low) if high > low else 0.5
        x = grid.left(column) + grid.cell_width / 2
        points.append(_fine(x, foot - share * (foot - top)) if math.isfinite(value) else None)
    for here, there in itertools.pairwise(points):
        if here and there:
            draw.line([here, there], fill=_CURVE, width=round(1.5 * _FINE))
    for point in points:
        if point:
            (x, y), radius = point, 2.5 * _FINE
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_CURVE)
    letters = Lettering(page, grid.width)
    for text, y in ((_number(high), top), (label, height / 2), (_number(low), foot)):
        lines = [shortened(text, grid.label_width, grid.font_size)] if text else []
        letters.write(lines, grid.gap + grid.label_width, y - line / 2, grid.font_size, "right")
    return letters.over(np.array(image.reduce(_FINE)), _INK)


def _fine(x: float, y: float) -> tuple[float, float]:
    return x * _FINE, y * _FINE
