"""Arrays that every metric takes: finite tables of float64, checked where they come in."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

Embeddings = npt.NDArray[np.float32]
"""(N, D) unit vectors of pictures or texts, or other features of pictures."""


def as_rows(values: npt.ArrayLike, least: int = 1, name: str = "the features") -> Floats:
    """Numbers (N, D) of any kind, a tensor on the CPU included, as float64, which sums of squares need.

    Raises ValueError unless there are `least` rows or more, a column, and no NaN or infinity.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{name} must be (N, D) with D >= 1, not {rows.shape}")
    if len(rows) < least:
        raise ValueError(f"{name} have {len(rows)} rows; {least} or more are needed")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} hold NaN or infinity")
    return rows


def as_pair(real: npt.ArrayLike, generated: npt.ArrayLike, least: int = 1) -> tuple[Floats, Floats]:
    """Two tables of features, (N, D) and (M, D). Raises ValueError as `as_rows`, or if D differs."""
    a, b = as_rows(real, least, "the real features"), as_rows(generated, least, "the generated features")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the features have {a.shape[1]} and {b.shape[1]} dimensions; they must have the same number")
    return a, b


def as_unit_vectors(values: npt.ArrayLike, name: str = "the vectors") -> Floats:
    """Rows (N, D) scaled to length 1, so that their products are cosines. Raises ValueError for a row of zeros."""
    rows = as_rows(values, name=name)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{name} hold a row of zeros, which has no direction")
    unit_rows: Floats = rows / lengths
    return unit_rows


def as_ids(values: npt.ArrayLike, count: int, name: str) -> Indices:
    """Numbers or names (count,) as small integers, equal where they are equal. Raises ValueError for other shapes."""
    given = np.asarray(values)
    if given.shape != (count,):
        raise ValueError(f"{name} must be ({count},), not {given.shape}")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)
