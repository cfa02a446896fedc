"""A tensor of a checkpoint: what it is called there, and how its bytes are made, piece by piece.

    Entry --pieces--> boxes, in row-major order --piece_bytes--> the tensor's bytes, one after another

The bytes are those of a safetensors file: row-major, little-endian, no gaps.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.adapters import adapter_for
from isometry.errors import ArgumentError
from isometry.stored import needed_blocks
from isometry.stream import write
from isometry.stream.index import tiles
from isometry.stream.rounding import DTYPES
from isometry.types import Decision, Plan

__all__ = [
    "CODES",
    "PIECE",
    "STORAGE",
    "Box",
    "Entry",
    "entries_of",
    "new_hash",
    "piece_bytes",
    "pieces",
]

PIECE = 16 << 20  # bytes made at once: large enough for a disk, small enough for a cache's sake

Box = tuple[slice, ...]

# How each dtype lies in memory: NumPy's own, or the bits of one that NumPy has not got.
STORAGE: dict[str, np.dtype[Any]] = {
    **{name: format.storage for name, format in DTYPES.items()},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype(np.complex64),
}  # fmt: skip


# What a safetensors file calls them, in the library's order: the widest come first in a file.
CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "int16": "I16", "uint16": "U16", "float16": "F16", "bfloat16": "BF16",
    "int32": "I32", "uint32": "U32", "float32": "F32",
    "complex64": "C64", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip


_SHORT = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32",
          "fp64": "float64", "double": "float64", "fp8": "float8_e4m3fn", "fp8_e4m3": "float8_e4m3fn",
          "fp8_e5m2": "float8_e5m2", "float8_e4m3": "float8_e4m3fn"}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One tensor of a checkpoint: made from the stream (`decision`), or given (`value`).

    Attributes:
        name: its key in the checkpoint; the stream's name is the decision's.
        aliases: further keys of a tied tensor.
        shape: in PyTorch's layout.
        dtype: "float32", "bfloat16", "int64", ...: one of STORAGE.
        decision: what the stream draws; None where the value is given.
        value: of this shape, in STORAGE[dtype]; None where the stream makes it.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    decision: Decision | None = None
    value: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes in the checkpoint."""
        return self.size * STORAGE[self.dtype].itemsize

    @property
    def elementwise(self) -> bool:
        """Can any part of it be made without the rest?"""
        d = self.decision
        return d is None or all(
            law.elementwise for law in (d.law, *(b.law for b in needed_blocks(d)))
        )


def entries_of(model: Any, plan: Plan, *, seed: int, dtype: str | None = None) -> list[Entry]:
    """What a checkpoint of a model would hold, without a weight of it being made.

    Args:
        model: a torch.nn.Module, on meta or not; it is read and not changed.
        plan: for this model.
        seed: for what the model's own code makes of the tensors that the plan keeps.
        dtype: of the floating-point tensors; None: as the model has them.

    Raises:
        ArgumentError: the framework has no state dict, or the dtype cannot hold a law.
        PlanError: the plan is of another model.
        ModelError: a value cannot be had.
    """
    contents = getattr(adapter_for(model), "contents", None)
    if contents is None:
        raise ArgumentError(
            f"a {type(model).__name__} has no state dict to stream; expected a torch.nn.Module: "
            "plan.apply(model, seed=0), and save it as its own framework does"
        )
    found: list[Entry] = contents(model, plan, seed=seed, dtype=dtype)
    return found


def pieces(entry: Entry, limit: int = PIECE) -> Iterator[Box]:
    """Boxes that cover a tensor in order, each of them contiguous in it.

    Args:
        entry: the tensor.
        limit: bytes at most. A law of whole matrices (an orthogonal one) makes each matrix at
            once, however large it is: a piece is then one matrix or several, or the whole tensor.

    Example:
        >>> entry = Entry("w", (), (4, 8), "float32", value=np.zeros((4, 8), np.float32))
        >>> [(p[0].start, p[0].stop) for p in pieces(entry, limit=64)]
        [(0, 2), (2, 4)]
    """
    most = max(1, limit // STORAGE[entry.dtype].itemsize)
    split = len(entry.shape) if entry.elementwise else _independent_axes(entry)
    unit = math.prod(entry.shape[split:])
    if unit == 0:
        return
    whole = tuple(slice(0, n) for n in entry.shape[split:])
    for head in tiles(entry.shape[:split], max(1, most // unit)):
        yield (*head, *whole)


def _independent_axes(entry: Entry) -> int:
    """How many leading axes number matrices that have nothing to do with each other."""
    decision = entry.decision
    if decision is None or decision.axes is None:
        return 0
    shared = {b.axis for b in needed_blocks(decision)}
    count = 0
    while count in decision.axes.batch_axis and count not in shared:
        count += 1
    return count


def piece_bytes(
    entry: Entry,
    box: Box,
    seed: int,
    out: NDArray[np.uint8] | None = None,
    threads: int | None = 1,
) -> NDArray[np.uint8]:
    """The bytes of a box of a tensor, as they lie in a checkpoint.

    Args:
        entry: the tensor.
        box: one of `pieces(entry)`, or any other tuple of slices, an entry an axis.
        seed: an integer in [0, 2^64).
        out: memory for the bytes, which may be longer; None: new memory.
        threads: for the stream, at most so many.

    Returns:
        uint8, one axis: the beginning of `out`.
    """
    storage = STORAGE[entry.dtype]
    shape = [len(range(*s.indices(n))) for s, n in zip(box, entry.shape, strict=True)]
    size = math.prod(shape) * storage.itemsize
    memory = np.empty(size, dtype=np.uint8) if out is None else out[:size]
    view = memory.view(storage).reshape(shape)
    if entry.decision is None:
        assert entry.value is not None  # an entry has one of the two
        view[...] = entry.value[box]
    else:
        how = entry.decision
        write(
            view, how.law, how.shape, seed=seed, name=how.name, dtype=entry.dtype, index=box,
            axes=how.axes, blocks=needed_blocks(how), threads=threads,
        )  # fmt: skip
    if sys.byteorder == "big":  # pragma: no cover - a file is little-endian everywhere
        view.byteswap(inplace=True)
    return memory


def new_hash() -> Any:
    """BLAKE2b-128: a tensor's hash is that of its bytes in the checkpoint."""
    return hashlib.blake2b(digest_size=16)


def dtype_of(dtype: Any) -> str | None:
    """The name of a dtype given as text, long or short, or as a framework's own; None is None.

    Example:
        >>> dtype_of("bf16"), dtype_of("torch.float16")
        ('bfloat16', 'float16')
    """
    if dtype is None:
        return None
    name = getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name not in DTYPES:
        raise ArgumentError(
            f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}, or short bf16, fp16, fp32, fp8"
        )
    return str(name)
