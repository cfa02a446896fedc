"""Does a matrix look drawn, or learned? Its largest singular value against that of random rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["outlying"]

Array = NDArray[np.float64]

SIDE = 256  # rows and columns that are looked at
LEAST = 8  # fewer say nothing
FEW, NOISE = 8, 0.2  # directions, and the share that noise must have besides them
ROUNDS = 24  # of power iteration: an outlier stands alone and is found quickly


def outlying(rows: NDArray[Any]) -> float | None:
    """The largest singular value of (m, n) rows, over what entries drawn independently reach:

        (sqrt(m) + sqrt(n)) (1 + 1.5 min(m, n)^(-2/3))

    the limit for large matrices of variance 1 (Bai & Yin 1993), and how far finite ones stray
    from it (Johnstone 2001).

    The mean is taken off and every row is given the length it should have, so that a law with a
    mean, or another scale for each unit, is no outlier. Trained matrices have a few singular values
    far beyond the limit; orthogonal ones none near it. None where the matrix is small, or is of low rank.
    """
    rows = rows[:: -(-rows.shape[0] // SIDE)]
    rows = rows[:, :: -(-rows.shape[1] // SIDE)]
    m, n = rows.shape
    if min(m, n) < LEAST:
        return None
    x = np.asarray(rows, dtype=np.float64)
    x = x - x.mean()
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        return None
    x = x * (math.sqrt(n) / lengths)
    v = np.ones(n) + np.linspace(0.0, 1.0, n)
    size = 0.0
    for _ in range(ROUNDS):
        v = x.T @ (x @ (v / np.linalg.norm(v)))
        size = float(np.linalg.norm(v))
        if size == 0.0:
            return None
    limit = (math.sqrt(m) + math.sqrt(n)) * float(1.0 + 1.5 * min(m, n) ** (-2 / 3))
    if math.sqrt(size) > limit and _low_rank(x):
        return None
    return math.sqrt(size) / limit


def _low_rank(x: Array) -> bool:
    """Do a few directions hold nearly all of it? Learned ones stand out of noise, and leave it."""
    energy = np.linalg.svd(x, compute_uv=False) ** 2
    return bool(energy[min(FEW, len(energy) // 4) :].sum() < NOISE * energy.sum())
