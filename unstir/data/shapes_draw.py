"""Drawing a scene: its things are given, their positions and exact sizes are random.

Lengths are shares of the picture's side; x goes right and y goes down. A form of radius r fits in
the square of side 2 r around its centre.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from unstir.data.shapes_scene import COLOURS, ShapeScene, Thing

BACKGROUND = (245, 245, 240)
RADIUS = {"small": (0.13, 0.145), "large": (0.185, 0.205), None: (0.13, 0.205)}
"""Smallest and largest radius by the word for the size; a small and a large thing always differ clearly."""

MARGIN = 0.03
GAP = 0.09
"""Between the squares around two things: three pixels of 32, so that they stay separate when blurred."""

_SUPERSAMPLE = 8
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

INSIDE: dict[str, Callable[[_Floats, _Floats], _Bools]] = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: (abs(x) <= 0.88) & (abs(y) <= 0.88),
    "triangle": lambda x, y: (y <= 0.8) & (y >= -0.93 + 1.73 * abs(x)),
    "cross": lambda x, y: (abs(x) <= 1) & (abs(y) <= 1) & ((abs(x) <= 0.36) | (abs(y) <= 0.36)),
}
"""Each form of radius 1 around the origin."""

AREA = {"circle": np.pi, "square": 1.76**2, "triangle": 1.73, "cross": 2 * 2 * 0.72 - 0.72**2}
"""Of each form at radius 1."""

MASS_OFFSET = {"circle": 0.0, "square": 0.0, "triangle": (0.8 + 0.8 - 0.93) / 3, "cross": 0.0}
"""How far the centre of mass is below the centre, at radius 1."""


def coverage(form: str, x: float, y: float, radius: float, size: int) -> _Floats:
    """How much of each pixel a form covers: (size, size) in [0, 1], from 8 × 8 samples a pixel."""
    covered = np.zeros((size, size))
    top, bottom = _reach(y, radius, size)
    left, right = _reach(x, radius, size)
    if top >= bottom or left >= right:
        return covered
    samples = _SUPERSAMPLE
    rows = (np.arange(top * samples, bottom * samples) + 0.5) / (samples * size)
    columns = (np.arange(left * samples, right * samples) + 0.5) / (samples * size)
    inside = INSIDE[form]((columns[None, :] - x) / radius, (rows[:, None] - y) / radius)
    blocks = inside.reshape(bottom - top, samples, right - left, samples)
    covered[top:bottom, left:right] = blocks.mean(axis=(1, 3))
    return covered


def render(scene: ShapeScene, size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw a scene at random positions: (size, size, 3) uint8, on a plain light background, no two things touching."""
    picture = np.full((size, size, 3), BACKGROUND, dtype=np.float64)
    for thing, (x, y, radius) in zip(scene.things, _positions(scene, rng), strict=True):
        covered = coverage(thing.form, x, y, radius, size)[..., None]
        picture += covered * (np.array(COLOURS[thing.colour]) - picture)
    return np.rint(picture).astype(np.uint8)


def _reach(centre: float, radius: float, size: int) -> tuple[int, int]:
    """The first pixel a form reaches, and the one after the last."""
    return max(0, int((centre - radius) * size)), min(size, int(np.ceil((centre + radius) * size)))


def _positions(scene: ShapeScene, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, radius) of every thing in the scene."""
    if scene.relation not in (None, "and") and scene.second is not None:
        return _related(scene.first, scene.second, str(scene.relation), rng)
    radii = [_radius(scene.first, rng)] * len(scene.things)  # several of the same thing are of the same size
    if scene.second is not None:
        radii[1] = _radius(scene.second, rng)
    for _ in range(50):
        centres = [(_between(rng, r), _between(rng, r)) for r in radii]
        positions = [(x, y, r) for (x, y), r in zip(centres, radii, strict=True)]
        if all(_apart(positions[i], positions[j]) for i in range(len(positions)) for j in range(i)):
            return positions
    return _quarters(radii, rng)


def _quarters(radii: list[float], rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Each thing in a quarter of its own: always possible, and the only way for four large ones."""
    positions = []
    for quarter, r in zip(rng.permutation(4), radii, strict=False):
        x, y = rng.uniform(MARGIN + r, 0.5 - GAP / 2 - r, 2)
        positions.append((float(1 - x if quarter % 2 else x), float(1 - y if quarter // 2 else y), r))
    return positions


def _related(first: Thing, second: Thing, relation: str, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Two things whose centres differ clearly along the relation, and less than half as much across it."""
    radii = [_radius(first, rng), _radius(second, rng)]
    if relation in ("right of", "below"):  # build left to right or top to bottom, then swap
        radii.reverse()
    a, b = radii
    slack = 1 - 2 * (MARGIN + a + b) - GAP
    before, after = sorted(rng.uniform(0, slack, 2))
    along = [MARGIN + a + before, MARGIN + 2 * a + GAP + b + after]
    most = 0.4 * (along[1] - along[0])
    start = _between(rng, a)
    across = [start, float(np.clip(start + rng.uniform(-most, most), MARGIN + b, 1 - MARGIN - b))]
    flat = relation in ("left of", "right of")
    pairs = zip(along, across, radii, strict=True)
    positions = [(float(u), float(v), r) if flat else (float(v), float(u), r) for u, v, r in pairs]
    return positions[::-1] if relation in ("right of", "below") else positions


def _radius(thing: Thing, rng: np.random.Generator) -> float:
    return float(rng.uniform(*RADIUS[thing.size]))


def _between(rng: np.random.Generator, radius: float) -> float:
    """A centre that leaves the margin free."""
    return float(rng.uniform(MARGIN + radius, 1 - MARGIN - radius))


def _apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= one[2] + other[2] + GAP
