"""A mesh of ranks, and which positions of an axis a rank holds where the mesh cuts it.

    dp=64,tp=8,pp=4     2048 ranks; the last name varies fastest, as in init_device_mesh

A cut is PyTorch's `Shard`: torch.chunk's, whose chunks have ceil(n / count) positions, the last ones
fewer or none. Several cuts of an axis nest, the first one outermost: FSDP over tensor parallelism
cuts the chunk that tensor parallelism has left, which DTensor calls a strided shard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError

__all__ = ["MEANINGS", "Chunk", "Mesh", "lengths", "positions"]

MEANINGS = {
    "dp": "fully sharded data parallel (FSDP2, ZeRO-3): axis 0 of every parameter",
    "replicate": "replicas of all that (HSDP, DDP)",
    "tp": "tensor parallel: matrices by their outputs or inputs",
    "pp": "pipeline parallel: contiguous blocks",
    "ep": "expert parallel: experts by their number; for everything else, more dp",
}


@dataclass(frozen=True, slots=True)
class Mesh:
    """Ranks in a grid.

    Attributes:
        sizes: the name of each axis -> how many ranks it has, in the order in which ranks are
            numbered: row-major, the last one fastest.
    """

    sizes: Mapping[str, int]

    @classmethod
    def parse(cls, text: str) -> Mesh:
        """The mesh that a text such as "dp=64,tp=8,pp=4" describes.

        Raises:
            ArgumentError: it describes none.

        Example:
            >>> mesh = Mesh.parse("dp=64,tp=8,pp=4")
            >>> mesh.world, mesh.coordinates(37)
            (2048, {'dp': 1, 'tp': 1, 'pp': 1})
        """
        example = "expected NAME=SIZE with commas between, such as dp=64,tp=8,pp=4"
        sizes: dict[str, int] = {}
        for part in text.split(","):
            name, equals, number = (p.strip() for p in part.partition("="))
            if not equals or not number.isdecimal():
                raise ArgumentError(f"the mesh {text!r} has {part.strip()!r}: {example}")
            if name not in MEANINGS:
                known = "; ".join(f"{n} ({what})" for n, what in MEANINGS.items())
                raise ArgumentError(f"the mesh {text!r} has {name!r}: expected one of {known}")
            if name in sizes:
                raise ArgumentError(
                    f"the mesh {text!r} has {name} twice: expected each name once; write "
                    f"{name}={sizes[name] * int(number)} if it is one axis"
                )
            if not 0 < int(number) <= 2**31:
                raise ArgumentError(
                    f"the mesh {text!r} has {name}={number}: expected a size from 1 to 2^31; leave "
                    f"{name} out where it does not cut"
                )
            sizes[name] = int(number)
        mesh = cls(sizes)
        if mesh.world > 2**24:
            raise ArgumentError(
                f"the mesh {text!r} has {mesh.world} ranks: expected {2**24} at most"
            )
        return mesh

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.sizes.items())

    @property
    def world(self) -> int:
        """The number of ranks."""
        return math.prod(self.sizes.values())

    def size(self, name: str) -> int:
        """How many ranks an axis has; 1 where the mesh does not have it."""
        return self.sizes.get(name, 1)

    def together(self, names: Iterable[str]) -> list[str]:
        """Those of these axes that the mesh has, in its order: as one axis, row-major."""
        wanted = set(names)
        return [name for name in self.sizes if name in wanted]

    def coordinates(self, rank: int) -> dict[str, int]:
        """Where a rank is along each axis.

        Raises:
            ArgumentError: there is no such rank.
        """
        if not 0 <= rank < self.world:
            raise ArgumentError(
                f"rank {rank} of the mesh {self}: expected 0 <= rank < {self.world}"
            )
        found: dict[str, int] = {}
        for name in reversed(list(self.sizes)):
            rank, found[name] = divmod(rank, self.sizes[name])
        return {name: found[name] for name in self.sizes}

    def rank(self, coordinates: Mapping[str, int]) -> int:
        """The number of the rank at these coordinates; 0 along an axis that is not given."""
        number = 0
        for name, size in self.sizes.items():
            number = number * size + coordinates.get(name, 0)
        return number


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of an axis: number `place` of `count`.

    Where the axis is several matrices in one (q, k and v; gate and up), `blocks` are their sizes: each
    is chunked by itself, and a chunk is made of a part of each.
    """

    count: int
    place: int
    blocks: tuple[int, ...] = ()


def positions(size: int, chunks: Iterable[Chunk]) -> tuple[range, ...]:
    """The positions of an axis that are left after cutting it again and again, in order.

    Args:
        size: of the axis.
        chunks: the cuts, outermost first; only the first one can have blocks.

    Returns:
        Ranges that are not empty and do not touch, in the order in which they lie in the shard.

    Example:
        >>> positions(10, [Chunk(2, 1)]), positions(10, [Chunk(2, 1), Chunk(4, 2)])
        ((range(5, 10),), (range(9, 10),))
        >>> positions(12, [Chunk(2, 0, blocks=(8, 4))])
        (range(0, 4), range(8, 10))
    """
    runs: tuple[range, ...] = (range(size),) if size else ()
    for chunk in chunks:
        taken: list[range] = []
        start = 0
        for block in chunk.blocks or (sum(map(len, runs)),):
            step = -(-block // chunk.count)
            first, last = (min(i * step, block) for i in (chunk.place, chunk.place + 1))
            taken += _between(runs, start + first, start + last)
            start += block
        runs = tuple(_joined(taken))
    return runs


def _between(runs: Sequence[range], start: int, stop: int) -> Iterator[range]:
    """Elements start to stop of runs counted as one."""
    place = 0
    for run in runs:
        part = run[max(start - place, 0) : max(stop - place, 0)]
        if part:
            yield part
        place += len(run)


def _joined(runs: Iterable[range]) -> Iterator[range]:
    """Runs of which one goes on where the last has ended are one."""
    held: range | None = None
    for run in runs:
        if held is not None and held.stop == run.start:
            held = range(held.start, run.stop)
            continue
        if held is not None:
            yield held
        held = run
    if held is not None:
        yield held


def lengths(size: int, cuts: Iterable[tuple[int, tuple[int, ...]]]) -> NDArray[np.int64]:
    """How many positions each rank holds of an axis: `positions`, counted for all ranks at once.

    Args:
        size: of the axis.
        cuts: (count, blocks) of each cut, outermost first.

    Returns:
        int64, an axis of the array for each cut.

    Example:
        >>> lengths(10, [(4, ())]).tolist(), lengths(3, [(2, ()), (2, ())]).tolist()
        ([3, 3, 3, 1], [[1, 1], [1, 0]])
    """
    found = np.asarray(size, dtype=np.int64)
    for count, blocks in cuts:
        parts = [np.asarray(b, dtype=np.int64) for b in blocks] or [found]
        found = np.sum([_chunks(part, count) for part in parts], axis=0)
    return found


def _chunks(size: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    step = -(-size // count)[..., None]
    return np.clip(size[..., None] - step * np.arange(count), 0, step)
