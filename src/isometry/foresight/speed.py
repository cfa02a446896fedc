"""How fast this machine fills fresh memory: measured, not looked up."""

from __future__ import annotations

import time

import numpy as np

from isometry.foresight.values import Speed
from isometry.stream import write
from isometry.stream.backend import thread_count
from isometry.stream.haar import haar
from isometry.stream.memory import fresh_memory
from isometry.stream.rounding import DTYPES
from isometry.types import Normal

__all__ = ["measured"]

SAMPLE = 64 << 20  # bytes
SIDE = 1024
TIMES = 2


def measured(dtype: str, *, orthogonal: bool) -> Speed:
    """Fill 64 MiB, and make an orthogonal matrix of 1024 rows where asked; the best of two each.

    The memory is fresh, as a model's is: its pages are touched for the first time.

    Args:
        dtype: of the numbers; one that the stream does not draw is measured as float32.
        orthogonal: also measure linear algebra.
    """
    kind = dtype if dtype in DTYPES else "float32"
    storage = DTYPES[kind].storage
    count = SAMPLE // storage.itemsize
    best = np.inf
    for _ in range(TIMES):
        memory = fresh_memory((count,), storage)
        start = time.perf_counter()
        write(memory, Normal(std=0.02), (count,), seed=0, name="speed", dtype=kind)
        best = min(best, time.perf_counter() - start)
    operations = _operations() if orthogonal else None
    return Speed(kind, count / best, SAMPLE / best, operations, thread_count(None))


def _operations() -> float:
    normals = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    best = np.inf
    for _ in range(TIMES):
        start = time.perf_counter()
        haar(normals)
        best = min(best, time.perf_counter() - start)
    return float(4 / 3 * SIDE**3 / best)
