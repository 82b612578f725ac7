"""Word vectors seen: their first two principal components, and the cosines between them, drawn by matplotlib."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from unstir.errors import UserError

Floats = NDArray[np.float64]


def principal_components(vectors: Floats) -> tuple[Floats, Floats]:
    """The first two principal components. vectors: (N, D), N >= 2.

    Returns the coordinates, (N, 2), and the fraction of the variance of each, (2,). The sign is chosen so that the
    largest coordinate of each component is positive.
    """
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    at = np.zeros((len(vectors), 2))
    fractions = np.zeros(2)
    total = np.square(s).sum()
    for i in range(min(2, len(s))):
        column = u[:, i] * s[i]
        at[:, i] = column * (np.sign(column[np.abs(column).argmax()]) or 1.0)
        fractions[i] = s[i] ** 2 / total if total else 0.0
    return at, fractions


def cosine_table(vectors: Floats) -> Floats:
    """The cosine of every pair. vectors: (N, D), none of them zero.  Returns (N, N)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    table: Floats = unit @ unit.T
    return table


def word_vector_plot(words: Sequence[str], vectors: Floats, title: str) -> bytes:
    """A PNG: to the left the words by their first two principal components, to the right their cosines.

    words: N, at least 2.  vectors: (N, D).
    UserError where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("a plot of words needs matplotlib: pip install 'unstir[eval]'") from None
    at, fractions = principal_components(vectors)
    table = cosine_table(vectors)
    side = max(4.5, 0.45 * len(words) + 2)
    figure = Figure(figsize=(5.5 + side, max(4.5, side)), layout="constrained")
    FigureCanvasAgg(figure)
    plane, cosines = figure.subplots(1, 2, width_ratios=(5.5, side))
    plane.axhline(0, color="0.85", zorder=0)
    plane.axvline(0, color="0.85", zorder=0)
    plane.scatter(at[:, 0], at[:, 1], color="tab:blue", zorder=2)
    for word, (x, y) in zip(words, at, strict=True):
        plane.annotate(_plain(word), (x, y), xytext=(5, 4), textcoords="offset points")
    plane.margins(0.2)
    plane.set_xlabel(f"first principal component ({fractions[0]:.0%} of the variance)")
    plane.set_ylabel(f"second ({fractions[1]:.0%})")
    plane.set_title(_plain(title))
    image = cosines.imshow(table, vmin=-1, vmax=1, cmap="RdBu_r")
    cosines.set_xticks(range(len(words)), [_plain(word) for word in words], rotation=45, ha="right")
    cosines.set_yticks(range(len(words)), [_plain(word) for word in words])
    for row in range(len(words)):
        for column in range(len(words)):
            value = table[row, column]
            cosines.text(
                column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 else "black"
            )
    cosines.set_title("cosine similarity")
    figure.colorbar(image, ax=cosines, shrink=0.7)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Without the signs that matplotlib reads as mathematics."""
    return text.replace("$", r"\$")
