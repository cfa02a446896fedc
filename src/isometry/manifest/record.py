"""One tensor of a manifest: how its values are had, and the hash of its bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.entry import STORAGE, Entry
from isometry.errors import BackendError
from isometry.stored import needed_blocks
from isometry.types import Axes, Block, Decision, Law

__all__ = ["Record", "as_dtype", "drawn", "record"]

SMALL = 4096  # bytes of a kept value that a manifest takes in


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A tensor: how to make it, and the BLAKE2b-128 of its bytes where somebody has made them.

    Of a value that the stream does not draw, and that is neither constant nor small, `entry` has the
    shape and dtype alone: it can be told by its hash, and not made.
    """

    entry: Entry
    hash: str | None = None

    @property
    def known(self) -> bool:
        """Can its values be had?"""
        return self.entry.decision is not None or self.entry.value is not None


def record(entry: Entry, hash: str | None) -> Record:
    """A tensor of a checkpoint, less what a manifest does not hold: reasons, and large values."""
    how, value = entry.decision, entry.value
    if how is not None:
        axes = None if entry.elementwise else how.axes
        bare = drawn(how.name, entry.shape, entry.dtype, how.law, axes, needed_blocks(how))
        return Record(replace(entry, decision=bare), hash)
    assert value is not None  # an entry has one of the two
    return Record(replace(entry, value=_held(value)), hash)


def drawn(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    law: Law,
    axes: Axes | None,
    blocks: tuple[Block, ...],
) -> Decision:
    """What the stream needs of a decision, and nothing else."""
    return Decision(
        name, (), "parameter", shape, dtype, role="", axes=axes, fans=None, scheme="", gain=None,
        law=law, blocks=blocks, reason="", source="",
    )  # fmt: skip


def _held(value: NDArray[Any]) -> NDArray[Any] | None:
    """A kept value as a manifest holds it: one number for all, a copy where it is small, or not."""
    if value.size:
        first = np.array(value[(0,) * value.ndim])
        bits = np.dtype(f"u{value.itemsize}") if value.itemsize < 16 else value.dtype
        if (value.view(bits) == first.view(bits)).all():
            return np.broadcast_to(first, value.shape)
    return value.copy() if value.nbytes <= SMALL else None


def as_dtype(bits: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array in the storage of a dtype as one of the dtype itself, which may be ml_dtypes'."""
    if STORAGE[dtype].name == dtype:
        return bits
    try:
        import ml_dtypes
    except ImportError:
        raise BackendError(
            f"dtype={dtype!r} as a NumPy array needs ml_dtypes; run: pip install ml_dtypes"
        ) from None
    return bits.view(getattr(ml_dtypes, dtype))
