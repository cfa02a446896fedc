"""A tensor of a plan, written into the array in which a framework stores it.

The stream counts elements as PyTorch lays them out; the array is filled through a view of it that
has its axes in that order, so that nothing is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import PlanError
from isometry.stream.index import Dim, select
from isometry.stream.request import validate
from isometry.stream.sampling import sample, write
from isometry.types import Block, Decision, Stored

__all__ = ["as_stored", "as_torch", "check_stored", "needed_blocks", "write_stored"]


def needed_blocks(decision: Decision) -> tuple[Block, ...]:
    """The blocks, where they say anything that the law does not."""
    if decision.law.elementwise and all(b.law == decision.law for b in decision.blocks):
        return ()
    return decision.blocks


def check_stored(
    decision: Decision, shape: Sequence[int], *, seed: int, dtype: str, stored: Stored | None = None
) -> None:
    """Raise unless an array of this shape and dtype can take this decision.

    Args:
        decision: what is to be written.
        shape: of the framework's array.
        seed: an integer in [0, 2^64).
        dtype: of the array.
        stored: how the array lays the tensor out; None: as the decision says.

    Raises:
        PlanError: the shapes do not fit.
        ArgumentError: the law does not fit the shape, or the dtype cannot hold it.
    """
    how = stored or decision.stored
    own = decision.shape if how is None else how.shape
    same = math.prod(own) == math.prod(decision.shape)
    if tuple(shape) != own or not same:
        raise PlanError(
            f"{decision.name} has shape {tuple(shape)}, the plan says {decision.shape}"
            + ("" if how is None else f" (stored as {own})")
            + "; make a plan of this model with iso.plan"
        )
    validate(
        decision.law, decision.shape, seed, decision.name, dtype, None, decision.axes,
        needed_blocks(decision),
    )  # fmt: skip


def write_stored(
    out: NDArray[Any],
    decision: Decision,
    *,
    seed: int,
    dtype: str,
    stored: Stored | None = None,
    index: Any = None,
    threads: int | None = None,
) -> None:
    """Fill a framework's array, or a part of it, with what a decision says.

        out[j] = law(word i of the stream),  i the place of j in PyTorch's layout

    Args:
        out: of the shape of the part; bits for "bfloat16" (uint16) and the float8s (uint8).
        decision: what to write; not one that keeps.
        seed: an integer in [0, 2^64).
        dtype: of the values.
        stored: how the array lays the tensor out; None: as the decision says.
        index: the part of the framework's array, an entry an axis: slices or 1-D arrays.
        threads: at most so many.
    """
    how = stored or decision.stored
    blocks = needed_blocks(decision)
    stream = {"seed": seed, "name": decision.name, "dtype": dtype, "threads": threads}
    if how is None:
        write(out, decision.law, decision.shape, index=index, axes=decision.axes, blocks=blocks, **stream)  # type: ignore[arg-type]  # fmt: skip
        return
    apart = tuple(how.shape[a] for a in how.order)
    positions = _positions(how, index)
    plain = decision.law.elementwise and not blocks
    if plain or apart == decision.shape:
        axes = decision.axes if apart == decision.shape else None
        write(out.transpose(how.order), decision.law, apart, index=_entries(positions), axes=axes, blocks=blocks, **stream)  # type: ignore[arg-type]  # fmt: skip
        return
    # A matrix as a whole, of which PyTorch makes one axis where the array has several.
    whole = sample(decision.law, decision.shape, axes=decision.axes, blocks=blocks, **stream)  # type: ignore[arg-type]
    part = whole.reshape(apart)
    if positions is not None:
        part = part[np.ix_(*(np.asarray(p) for p in positions))]
    out.transpose(how.order)[...] = part.view(out.dtype)


def as_torch(array: NDArray[Any], stored: Stored | None, shape: Sequence[int]) -> NDArray[Any]:
    """A framework's array as PyTorch lays it out, of this shape; a view where it can be."""
    if stored is None:
        return array.reshape(tuple(shape))
    positions = _positions(stored, None)
    apart = array.transpose(stored.order)
    if positions is not None:  # where each element goes: the inverse of where it comes from
        apart = apart[np.ix_(*(np.argsort(p) for p in positions))]
    return apart.reshape(tuple(shape))


def as_stored(array: NDArray[Any], stored: Stored | None) -> NDArray[Any]:
    """An array in PyTorch's layout as a framework stores it; a view where it can be."""
    if stored is None:
        return array
    apart = array.reshape(tuple(stored.shape[a] for a in stored.order))
    positions = _positions(stored, None)
    if positions is not None:
        apart = apart[np.ix_(*(np.asarray(p) for p in positions))]
    return apart.transpose(np.argsort(stored.order))


def _positions(how: Stored, index: Any) -> tuple[Dim, ...] | None:
    """For each axis in the stream's order, where the elements asked for lie; None: all, in order."""
    if index is None and not how.flipped and not how.gates:
        return None
    dims = list(select(how.shape, index).dims)
    for axis in how.flipped:
        dims[axis] = how.shape[axis] - 1 - np.asarray(dims[axis], dtype=np.int64)
    if how.gates:
        size = how.shape[how.gate_axis] // len(how.gates)
        at = np.asarray(dims[how.gate_axis], dtype=np.int64)
        dims[how.gate_axis] = np.asarray(how.gates)[at // size] * size + at % size
    return tuple(dims[a] for a in how.order)


def _entries(dims: tuple[Dim, ...] | None) -> tuple[Any, ...] | None:
    """Positions as an index: a slice where they are a rising range."""
    if dims is None:
        return None
    rising = (isinstance(d, range) and d.step > 0 for d in dims)
    return tuple(
        slice(d.start, d.stop, d.step) if up else np.asarray(d)  # type: ignore[union-attr]
        for d, up in zip(dims, rising, strict=True)
    )
