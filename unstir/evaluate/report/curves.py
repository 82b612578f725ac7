"""Curves as SVG for the page, by matplotlib: no text but numbers, colours of the page's style sheet, the same bytes.

matplotlib is an optional dependency, imported when a curve is drawn.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from unstir.errors import UserError

_SIZE = (3.75, 1.97)  # inches, of 80 px
_DPI = 80

_COLOURS = {"#010101": "var(--rule)", "#020202": "var(--soft)", "#030303": "var(--accent)"}
"""What matplotlib draws with, and the page's colours in their place, which follow light and dark."""

_LARGE = 10_000


def curve_svg(xs: Sequence[float], ys: Sequence[float | None], number: int) -> str:
    """An SVG element: one line over its axes, its last point marked; None breaks the line.

    number: of the curve on its page; makes ids unique.
    Raises UserError where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("curves in a report need matplotlib: pip install 'unstir[eval]'") from None
    rule, soft, accent = _COLOURS
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's own style
        matplotlib.rcParams.update({"svg.hashsalt": f"curve {number}", "svg.fonttype": "none", "font.size": 9.5})
        figure = Figure(_SIZE, _DPI, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[:].set_visible(False)
        axes.grid(axis="y", color=rule, linewidth=0.8)
        axes.tick_params(length=0, labelcolor=soft)
        axes.locator_params(nbins=5)
        _shorten(axes.xaxis, max(abs(xs[0]), abs(xs[-1])))
        known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
        _shorten(axes.yaxis, max((abs(y) for _, y in known), default=0))
        axes.plot(xs, [float("nan") if y is None else y for y in ys], color=accent, linewidth=1.4, clip_on=False)
        alone = [(x, y) for i, (x, y) in enumerate(zip(xs, ys, strict=True)) if y is not None and _alone(ys, i)]
        for point in alone:
            axes.plot(*point, ".", color=accent, markersize=3, clip_on=False)
        if known:
            axes.plot(*known[-1], "o", color=accent, markersize=4.5, clip_on=False)
        file = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata)
    return _inline(file.getvalue())


def _alone(ys: Sequence[float | None], i: int) -> bool:
    """Whether a value has none beside it, so that no line would show it."""
    return all(y is None for y in (*ys[max(i - 1, 0) : i], *ys[i + 1 : i + 2]))


def _shorten(axis: Any, most: float) -> None:
    """Large numbers as 20 k or 3 M."""
    from matplotlib.ticker import EngFormatter

    if most >= _LARGE:
        axis.set_major_formatter(EngFormatter(sep="\N{THIN SPACE}"))


def _inline(svg: str) -> str:
    """The svg element alone, in the page's colours, without a style sheet, which would hold for the whole page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # names that every curve of the page would have
    for drawn, wanted in _COLOURS.items():
        svg = svg.replace(drawn, wanted)
    return svg
