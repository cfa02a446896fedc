"""Random parts of random shards, each made alone and compared with the same part of whole rows.

The part is made as its rank would make it, from its positions and by the backend in use. The rows are
made whole, by the NumPy reference, and the part is cut out of them: another program, another index.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.foresight.layout import Index, Layout, Placed
from isometry.foresight.values import Proof
from isometry.stored import needed_blocks
from isometry.stream import write
from isometry.stream.rounding import DTYPES

__all__ = ["provable", "prove"]

SHARDS = 32
ROWS = 1 << 18  # elements of the whole rows that one part is cut out of
TRIES = 64  # ranks asked for one that holds something


def provable(tensor: Placed) -> bool:
    """Is every element a word's, so that a part has to be equal to the bit?

    Of laws of whole matrices it has to be within a tolerance, which is another proof.
    """
    d = tensor.decision
    laws = [b.law for b in needed_blocks(d)] or [d.law]
    return (
        d.kind == "parameter"
        and math.prod(d.shape) > 0
        and any(law.random for law in laws)
        and all(law.elementwise for law in laws)
    )


def prove(layout: Layout, *, seed: int, dtype: str | None = None, shards: int = SHARDS) -> Proof:
    """Compare.

    Args:
        layout: of the model.
        seed: of the weights, and of what is compared.
        dtype: of the numbers; None: each tensor's own.
        shards: how many (rank, tensor) pairs; fewer where there are no more to be had.
    """
    start = time.perf_counter()
    generator = np.random.default_rng(seed)
    candidates = [t for t in layout.tensors if provable(t)]
    by_stage = [[t for t in candidates if i in t.stages] for i in range(len(layout.holds))]
    seen: dict[tuple[int, str], int] = {}
    unequal = []
    for _ in range(shards if candidates else 0):
        for _ in range(TRIES):
            rank = int(generator.integers(layout.mesh.world))
            some = by_stage[layout.stage(rank)]
            if not some:
                continue
            tensor = some[int(generator.integers(len(some)))]
            index = tensor.index(layout.mesh, layout.mesh.coordinates(rank))
            if all(index) and (rank, tensor.decision.name) not in seen:
                break
        else:
            continue
        part = _window(index, tensor.decision.shape, generator)
        seen[rank, tensor.decision.name] = math.prod(map(len, part))
        if not _equal(tensor, part, seed, dtype or tensor.decision.dtype):
            unequal.append(f"{tensor.decision.name} on rank {rank}")
    ranks = len({rank for rank, _ in seen})
    seconds = time.perf_counter() - start
    return Proof(len(seen), ranks, sum(seen.values()), tuple(unequal), seconds)


def _window(
    index: Index, shape: tuple[int, ...], generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Some neighbouring positions of a shard, few enough that their rows can be made whole."""
    left = max(ROWS // shape[-1], 1)
    found = []
    for axis, runs in enumerate(index):
        places = np.concatenate([np.arange(r.start, r.stop) for r in runs])
        if axis < len(index) - 1:
            count = min(len(places), left)
            left //= count
        else:
            count = min(len(places), ROWS)
        first = int(generator.integers(len(places) - count + 1))
        found.append(places[first : first + count])
    return found


def _equal(tensor: Placed, part: list[NDArray[np.int64]], seed: int, dtype: str) -> bool:
    """Is the part, made alone, that part of its rows?"""
    kind = dtype if dtype in DTYPES else "float32"
    alone = _made(tensor, tuple(part), seed, kind, None)
    rows = (*part[:-1], slice(None)) if alone.size < math.prod(tensor.decision.shape) else None
    whole = _made(tensor, rows, seed, kind, "numpy")
    return np.array_equal(alone, whole[..., part[-1]])


def _made(
    tensor: Placed, index: tuple[Any, ...] | None, seed: int, dtype: str, backend: str | None
) -> NDArray[Any]:
    """The bits at an index."""
    d = tensor.decision
    lengths = d.shape if index is None else [
        n if isinstance(i, slice) else len(i) for i, n in zip(index, d.shape, strict=True)
    ]  # fmt: skip
    storage = DTYPES[dtype].storage
    out = np.empty(lengths, dtype=storage)
    write(
        out, d.law, d.shape, seed=seed, name=d.name, dtype=dtype, index=index, axes=d.axes,
        blocks=needed_blocks(d), backend=backend,
    )  # fmt: skip
    return out.view(f"u{storage.itemsize}")
