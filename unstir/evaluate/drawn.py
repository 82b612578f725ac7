"""What the report draws by itself, as SVG inside the page: curves, and the scale beside each number.

Colours are classes of the page's style sheet, so that the drawings follow light and dark.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from unstir.evaluate.numerals import rounded

ANCHORS = ("floor", "chance", "baseline", "ceiling")
"""What a value is held against, in the order of the columns."""

_WIDTH, _HEIGHT = 168, 20
_RIGHT, _TOP, _BOTTOM = 18, 8, 22  # px around the plane of a curve; at the left, what its numbers need
_LETTER = 7  # px that a digit takes, at most
_SIZE = (300, 158)


def mark(anchor: str, x: float, y: float) -> str:
    """The sign of one anchor, around (x, y)."""
    match anchor:
        case "floor":
            return f'<path class="mark" d="M{x:.1f} {y - 6:.1f}v12"/>'
        case "ceiling":
            return f'<path class="mark" d="M{x - 1.5:.1f} {y - 6:.1f}v12m3 0v-12"/>'
        case "chance":
            return f'<circle class="mark hollow" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        case _:
            return f'<path class="mark hollow" d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"/>'


def key(anchor: str) -> str:
    """The sign alone, for the head of its column."""
    return f'<svg class="key" viewBox="0 0 12 14" width="12" height="14" aria-hidden="true">{mark(anchor, 6, 7)}</svg>'


def scale(row: Mapping[str, Any]) -> str:
    """A value, its interval and its anchors on a line that begins at zero; nothing if there is nothing to compare."""
    value = row["value"]
    anchors = {name: row[name] for name in ANCHORS if row.get(name) is not None}
    low, high = row.get("interval") or (value, value)
    if value is None or not (anchors or high > low):
        return ""
    least, most = min(0, value, low, *anchors.values()), max(0, value, high, *anchors.values())
    reach = most - least

    def place(at: float) -> float:
        return 8 + (at - least) / reach * (_WIDTH - 16) if reach else 8

    middle = _HEIGHT / 2
    signs = "".join(mark(name, place(at), middle) for name, at in anchors.items())
    bar = f'<path class="span" d="M{place(low):.1f} {middle}H{place(high):.1f}"/>' if high > low else ""
    return (
        f'<svg class="scale" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" aria-hidden="true">'
        f'<path class="rail" d="M2 {middle}H{_WIDTH - 2}"/>{bar}{signs}'
        f'<circle class="dot" cx="{place(value):.1f}" cy="{middle}" r="3"/></svg>'
    )


def curve(name: str, xs: Sequence[float], ys: Sequence[float | None]) -> str:
    """One line over its axes, its last value told at its end. Where there is no value at all, the axes are missing."""
    known = [y for y in ys if y is not None]
    width, height = _SIZE
    head = f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
    if not known:
        return f'{head}<text x="{width / 2}" y="{height / 2}" text-anchor="middle">no values</text></svg>'
    up = ticks(min(known), max(known))
    first, last = (xs[0], xs[-1]) if xs[-1] > xs[0] else (xs[0] - 0.5, xs[0] + 0.5)
    across = ticks(first, last)
    left = 7 + _LETTER * max(len(_label(y, up)) for y in up)

    def at_x(x: float) -> float:
        return left + (x - first) / (last - first) * (width - left - _RIGHT)

    def at_y(y: float) -> float:
        return _TOP + (up[-1] - y) / (up[-1] - up[0]) * (height - _TOP - _BOTTOM)

    parts = [head]
    for y in up:
        parts.append(f'<path class="grid" d="M{left} {at_y(y):.1f}H{width - _RIGHT}"/>')
        parts.append(f'<text x="{left - 7}" y="{at_y(y) + 3.5:.1f}" text-anchor="end">{_label(y, up)}</text>')
    for x in across:
        if first <= x <= last:
            parts.append(f'<text x="{at_x(x):.1f}" y="{height - 5}" text-anchor="middle">{_label(x, across)}</text>')
    for piece in _pieces(xs, ys):
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in piece)
        parts.append(f'<polyline class="line" points="{points}"/>')
    x, y = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None][-1]
    parts.append(f'<circle class="dot" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5"/></svg>')
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, evenly spaced, the first at most `low` and the last at least `high`."""
    if not high > low:
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _label(value: float, marks: Sequence[float]) -> str:
    """A tick's number, in thousands or millions where they are large, with as many decimals as their step has."""
    most = max(abs(marks[0]), abs(marks[-1]))
    unit, sign = next(
        one for one in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")) if most >= 10 * one[0] or not one[1]
    )
    places = max(0, -math.floor(math.log10((marks[1] - marks[0]) / unit) + 1e-9))
    if places > 5:
        return f"{value:.2g}".replace("-", "−")
    return rounded(value / unit, places) + (sign if value else "")


def _pieces(xs: Sequence[float], ys: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
    """The runs of points between missing values."""
    piece: list[tuple[float, float]] = []
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            if piece:
                yield piece
            piece = []
        else:
            piece.append((x, y))
    if piece:
        yield piece
