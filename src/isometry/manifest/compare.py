"""The numbers of a tensor in a file against those that the stream makes, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.entry import STORAGE, Entry, new_hash, piece_bytes, pieces
from isometry.errors import ArgumentError
from isometry.manifest.files import Stretch
from isometry.stream.rounding import store
from isometry.types import Factor, Law, Orthogonal

__all__ = ["Advance", "Difference", "difference", "hash_of"]

PIECE = 1 << 20  # bytes compared at once: what is worked out beside them is several times that
READ = 4 << 20  # bytes hashed at once

Advance = Callable[[int], None]

# Of a law of whole matrices another machine rounds a number in a million differently; training moves
# most of them.
NEIGHBOURS = 1e-3


@dataclass(frozen=True, slots=True)
class Difference:
    """How many numbers are others, how far at most (None: not finite), how many only to a rounding
    (and how far those)."""

    count: int = 0
    largest: float | None = 0.0
    near: int = 0
    step: float = 0.0

    def __add__(self, other: Difference) -> Difference:
        finite = self.largest is not None and other.largest is not None
        return Difference(
            self.count + other.count,
            max(self.largest or 0.0, other.largest or 0.0) if finite else None,
            self.near + other.near,
            max(self.step, other.step),
        )

    def of(self, size: int) -> Difference:
        """The same, where numbers that differ by a rounding are too many to be one."""
        if self.near <= max(4.0, NEIGHBOURS * size):
            return self
        return Difference(self.near, self.step) + Difference(self.count, self.largest)


def difference(entry: Entry, lies: Stretch, seed: int, advance: Advance) -> Difference:
    """How a tensor in a file differs from what it was at first.

    In another dtype than the manifest's it may be that tensor, converted; or, where it is wider, the
    tensor that the stream gives in that dtype. The nearer of the two is told.

    Args:
        entry: the tensor, whose values can be had.
        lies: where it lies, in the same shape, and a dtype of STORAGE.
        seed: of the stream.
        advance: told of every piece's bytes.
    """
    found = _difference(entry, lies, seed, advance)
    if found.count and entry.decision is not None and lies.dtype != entry.dtype:
        try:
            drawn = _difference(replace(entry, dtype=lies.dtype), lies, seed, lambda _: None)
        except ArgumentError:  # a dtype that cannot hold the law: then it was never drawn so
            return found
        return min(found, drawn, key=lambda d: d.count)
    return found


def hash_of(lies: Stretch) -> str:
    """The hash of the bytes in a file."""
    digest, left = new_hash(), lies.nbytes
    with open(lies.file, "rb", buffering=0) as file:
        file.seek(lies.start)
        memory = np.empty(min(left, READ), np.uint8)
        while left:
            data = _read(file, memory[: min(left, READ)])
            digest.update(data)
            left -= data.size
    return str(digest.hexdigest())


def _difference(entry: Entry, lies: Stretch, seed: int, advance: Advance) -> Difference:
    total, allowed = Difference(), _allowed(entry)
    # What linear algebra made is looked at before its last rounding, which another machine may do
    # the other way.
    exact = entry if allowed is None else replace(entry, dtype="float32")
    rounded = [entry.dtype, lies.dtype]
    for whole, there in _pairs(exact, lies, seed):
        for first in range(
            0, whole.size, PIECE
        ):  # a matrix is made at once, and looked at in parts
            made, theirs = whole[first : first + PIECE], there[first : first + PIECE]
            ours = _rounded(made, exact.dtype, rounded)
            bits = f"u{ours.itemsize}"
            others = ours.view(bits) != theirs.view(bits)
            if others.any():
                near = np.zeros(int(others.sum()), np.bool_)
                if allowed is not None:
                    near = _near(made[others], theirs[others], rounded, allowed)
                total += _differing(ours[others], theirs[others], lies.dtype, near)
            advance(theirs.nbytes)
    return total.of(entry.size)


def _pairs(entry: Entry, lies: Stretch, seed: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """(as made, as it lies there) of each piece, one axis, each in the storage of its dtype."""
    made, read = np.empty(0, np.uint8), np.empty(0, np.uint8)
    stored, wanted = (STORAGE[d].newbyteorder("<") for d in (entry.dtype, lies.dtype))
    with open(lies.file, "rb", buffering=0) as file:
        file.seek(lies.start)
        for box in pieces(entry, PIECE):
            count = math.prod(s.stop - s.start for s in box)
            if made.size < count * stored.itemsize:
                made = np.empty(count * stored.itemsize, np.uint8)
            if read.size < count * wanted.itemsize:
                read = np.empty(count * wanted.itemsize, np.uint8)
            ours: NDArray[Any] = piece_bytes(entry, box, seed, out=made).view(stored)
            yield ours, _read(file, read[: count * wanted.itemsize]).view(wanted)


def _differing(
    ours: NDArray[Any], theirs: NDArray[Any], dtype: str, near: NDArray[np.bool_]
) -> Difference:
    """Of numbers whose bits are others."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(_numbers(ours, dtype) - _numbers(theirs, dtype))
    off, step = distance[~near], float(distance[near].max(initial=0.0))
    far = float(off.max(initial=0.0))
    return Difference(off.size, far if np.isfinite(far) else None, int(near.sum()), step)


def _near(
    made: NDArray[Any], theirs: NDArray[Any], rounded: list[str], allowed: float
) -> NDArray[np.bool_]:
    """Which numbers may be those of another machine: a step of float32 and what linear algebra may
    miss off ours, and then rounded as ours are."""
    exact = made.astype(np.float64)
    reach = np.spacing(np.abs(made)).astype(np.float64) + allowed
    dtype = rounded[-1]
    low, high = (
        _numbers(_rounded(end.astype(np.float32), "float32", rounded), dtype)
        for end in (exact - reach, exact + reach)
    )
    there = _numbers(theirs, dtype)
    found: NDArray[np.bool_] = (low <= there) & (there <= high)
    return found


def _allowed(entry: Entry) -> float | None:
    """How far linear algebra on two machines may come apart, beside the rounding; None: not at all.

    An element of an orthogonal matrix of m reflections of length n, m <= n, by some m sqrt(n) 2^-53
    (docs/spec/stream.md), which the number of elements bounds: m sqrt(n) <= (m n)^(3/4). Singular
    vectors lie as far apart as that, over the gaps between d singular values: some d^3 2^-53.
    """
    how = entry.decision
    laws: tuple[Law, ...] = () if how is None else (how.law, *(b.law for b in how.blocks))
    gains = [law.gain for law in laws if isinstance(law, Orthogonal)]
    allowed = [16 * gain * entry.size**0.75 * 2.0**-53 for gain in gains]
    allowed += [entry.size**1.5 * 2.0**-53 for law in laws if isinstance(law, Factor)]
    return max(allowed, default=None)


def _rounded(values: NDArray[Any], dtype: str, wanted: list[str]) -> NDArray[Any]:
    """Numbers of one dtype, rounded to others one after another."""
    for name in wanted:
        if name != dtype:
            out = np.empty(values.shape, STORAGE[name])
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # of a kept value, infinite or too large
                store(_numbers(values, dtype).astype(np.float32), name, out)
            values, dtype = out, name
    return values


def _numbers(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The numbers that these bits of a dtype are: float64, or complex128."""
    if dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "float8_e5m2":  # the upper half of a float16
        values = (values.astype(np.uint16) << 8).view(np.float16)
    elif dtype == "float8_e4m3fn":  # a float16's exponent is 8 more, and S.1111.111 is NaN
        wide = values.astype(np.uint16)
        halves = ((wide & 0x80) << 8 | (wide & 0x7F) << 7).view(np.float16)
        values = np.where(wide & 0x7F == 0x7F, np.nan, halves.astype(np.float64) * 256)
    with np.errstate(invalid="ignore"):  # a NaN of another kind becomes the usual one
        return values.astype(np.complex128 if dtype == "complex64" else np.float64)


def _read(file: Any, memory: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill memory from a file."""
    left = memory.data
    while left:
        count = file.readinto(left)
        if not count:
            raise ArgumentError(f"{file.name} ends before its last tensor; was it cut short?")
        left = left[count:]
    return memory
