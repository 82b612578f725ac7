"""Sampling traces: every step of a sampler, as a film strip on one page or as an animation."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from unstir.errors import UserError
from unstir.files import replacing
from unstir.image.png import Pixels, check_pixels
from unstir.image.sheet import Grid, composite, enlarge, with_alpha
from unstir.image.text_mask import TextMask, line_height
from unstir.image.typesetting import shortened

_COLUMNS = 16  # at most
_CURVE = (31, 119, 180)
_RULE = (222, 222, 222)
_INK = (48, 48, 48)
_OVERSAMPLING = 4  # the curve is drawn this many times larger and shrunk, which makes it smooth
_MAX_SECONDS = 60.0  # seconds; APNG counts milliseconds in 16 bits


def film_strip(
    frames: Sequence[tuple[Pixels, Pixels]],
    labels: Sequence[str] | None = None,
    scale: int = 1,
    values: Sequence[float] | None = None,
    value_label: str = "",
    times: Sequence[float] | None = None,
    rows: tuple[str, ...] = ("x_t", "x0"),
) -> Pixels:
    """Draw the steps of a sampler from left to right: x_t above, the predicted x0 below.

    frames: one (x_t, x0) a step, each uint8 (H, W, 3 | 4); transparency shows a checkerboard.
    labels: one a step, under its column; by default the time where `times` are given, else the number of the step.
    scale: whole number >= 1 by which every pixel is repeated.
    values: one number a step, drawn as a curve under the columns, e.g. the similarity to the prompt; a value that is
        not finite leaves a gap in the curve.
    value_label: what `values` are.
    times: the t of each step, written under its column as "t = 0.75".
    rows: what the two rows are called; only one name: only the second of each pair is drawn.

    More than 16 steps are drawn in several bands of equal length.
    Returns uint8 (H, W, 3).
    Raises ValueError if there is no step, or if the lengths of the arguments differ.
    """
    if not frames:
        raise ValueError("a film strip needs at least one step")
    for name, given in (("labels", labels), ("values", values), ("times", times)):
        if given is not None and len(given) != len(frames):
            raise ValueError(f"{len(given)} {name} for {len(frames)} steps")
    captions = list(labels or _time_labels(times) or [str(number + 1) for number in range(len(frames))])
    low, high = _range(values or [])
    ticks = [] if values is None else [value_label, _tick(low), _tick(high)]
    length = math.ceil(len(frames) / math.ceil(len(frames) / _COLUMNS))
    pictures = [picture for frame in frames for picture in frame]
    grid = Grid.fitting(pictures, length, captions, [*rows, *ticks], scale)
    bands: list[Pixels] = []
    for start in range(0, len(frames), length):
        steps = slice(start, start + length)
        if bands:
            bands.append(np.full((2 * grid.font_size, grid.width, 3), 255, np.uint8))
        if len(rows) > 1:
            bands.append(grid.draw([xt for xt, _ in frames[steps]], None, [rows[0]], "checker"))
        bands.append(grid.draw([x0 for _, x0 in frames[steps]], captions[steps], [rows[-1]], "checker"))
        if values is not None:
            bands.append(_curve(grid, values[steps], low, high, value_label))
    return np.concatenate(bands)


def trace_frames(frames: Sequence[tuple[Pixels, Pixels]]) -> list[Pixels]:
    """Put x_t and the predicted x0 side by side, for `animate`.

    frames: one (x_t, x0) a step, both of the same shape, uint8 (H, W, 3 | 4).
    Returns one (H, 2·W + W // 16, 3 | 4) a step; the gap between the two is transparent, or white without alpha.
    Raises ValueError if the two shapes of a step differ.
    """
    joined = []
    for xt, x0 in frames:
        if check_pixels(xt).shape != check_pixels(x0).shape:
            raise ValueError(f"x_t {xt.shape} and x0 {x0.shape} differ in shape")
        height, width, channels = xt.shape
        gap = np.full((height, max(1, width // 16), channels), 255 if channels == 3 else 0, np.uint8)
        joined.append(np.concatenate([xt, gap, x0], axis=1))
    return joined


def animate(
    path: Path, frames: Sequence[Pixels], seconds_per_frame: float = 0.12, hold: float = 1.5, scale: int = 1
) -> None:
    """Write an animation that repeats for ever; atomically.

    path: the suffix chooses the format. .png (APNG) and .webp keep every pixel and its alpha; .gif has 256 colours a
        frame, and is laid over white since it has no partial transparency.
    frames: uint8 (H, W, 3 | 4), all of one height and width. One that equals the frame before it is not stored again;
        that frame is shown longer instead.
    seconds_per_frame: up to 60; a GIF counts in 1/100 s.
    hold: seconds for which the last frame is shown at least, up to 60.
    scale: whole number >= 1 by which every pixel is repeated.

    Raises UserError for another suffix, ValueError for frames of different sizes or a time out of range, OSError if
    the file cannot be written.
    """
    kind = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} has no suffix of an animation; give a name that ends in .png, .webp or .gif.")
    if not frames or len({check_pixels(frame).shape[:2] for frame in frames}) != 1:
        raise ValueError("an animation needs at least one frame, and all of one size")
    if scale < 1 or not (0 < seconds_per_frame <= _MAX_SECONDS and 0 <= hold <= _MAX_SECONDS):
        raise ValueError(f"scale must be >= 1 and times within 60 s, not {scale}, {seconds_per_frame} and {hold}")
    tick = 10 if kind == "GIF" else 1  # ms
    # Browsers show a GIF frame of less than 20 ms for 100 ms.
    spans = [max(round(1000 * seconds_per_frame / tick), 2 if kind == "GIF" else 1) * tick] * len(frames)
    spans[-1] = max(spans[-1], round(1000 * hold / tick) * tick)
    images = [Image.fromarray(enlarge(frame, scale)) for frame in _same_channels(frames, opaque=kind == "GIF")]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    with replacing(path) as temporary:
        images[0].save(
            temporary, format=kind, save_all=True, append_images=images[1:], duration=spans, loop=0, **options
        )


def _same_channels(frames: Sequence[Pixels], opaque: bool) -> Sequence[Pixels]:
    """Give all frames the same channels; `opaque` lays them over white."""
    if opaque:
        return [composite(frame, np.full((*frame.shape[:2], 3), 255, np.uint8)) for frame in frames]
    return [with_alpha(frame) for frame in frames] if any(frame.shape[2] == 4 for frame in frames) else frames


def _time_labels(times: Sequence[float] | None) -> list[str] | None:
    return None if times is None else [f"t = {time:.3g}" for time in times]


def _range(values: Sequence[float]) -> tuple[float, float]:
    finite = [float(value) for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)


def _tick(value: float) -> str:
    return f"{value:.3g}"


def _curve(grid: Grid, values: Sequence[float], low: float, high: float, label: str) -> Pixels:
    """A line plot with one point under each column: `low` at the bottom, `high` at the top. Returns (H, W, 3)."""
    line = line_height(grid.font_size)
    height = max(4 * line, min(grid.cell_height, 96))
    top, bottom = line / 2, height - line / 2
    full_height = height + grid.gap
    image = Image.new("RGB", (_OVERSAMPLING * grid.width, _OVERSAMPLING * full_height), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for y in (top, bottom):
        draw.line(
            [_scaled(grid.left(0), y), _scaled(grid.left(grid.columns) - grid.gap, y)],
            fill=_RULE,
            width=_OVERSAMPLING,
        )
    points: list[tuple[float, float] | None] = []
    for column, value in enumerate(values):
        fraction = (value - low) / (high - low) if high > low else 0.5
        x = grid.left(column) + grid.cell_width / 2
        points.append(_scaled(x, bottom - fraction * (bottom - top)) if math.isfinite(value) else None)
    for start, end in itertools.pairwise(points):
        if start and end:
            draw.line([start, end], fill=_CURVE, width=round(1.5 * _OVERSAMPLING))
    for point in points:
        if point:
            (x, y), radius = point, 2.5 * _OVERSAMPLING
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_CURVE)
    texts = TextMask(full_height, grid.width)
    for text, y in ((_tick(high), top), (label, height / 2), (_tick(low), bottom)):
        lines = [shortened(text, grid.label_width, grid.font_size)] if text else []
        texts.write(lines, grid.gap + grid.label_width, y - line / 2, grid.font_size, "right")
    return texts.over(np.array(image.reduce(_OVERSAMPLING)), _INK)


def _scaled(x: float, y: float) -> tuple[float, float]:
    return x * _OVERSAMPLING, y * _OVERSAMPLING
