"""Files filled by several threads: each takes a tensor, makes it piece by piece, hashes and writes it.

The files are taken in order and within a file the largest tensor first, so that a run that is
stopped leaves complete files and at most a few under way. Making, hashing and writing run outside
Python's lock; a thread needs one piece of memory, and an orthogonal matrix is one piece.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from isometry.checkpoint.disk import PAGE, page_aligned, reserve, running, write_all
from isometry.checkpoint.durable import PARTIAL, publish
from isometry.checkpoint.shards import Shard
from isometry.entry import PIECE, STORAGE, Box, Entry, new_hash, piece_bytes, pieces

__all__ = ["fill_files", "partial"]

MEMORY = 8 << 20  # bytes for the pieces of all threads, unless they are very many

Advance = Callable[[int], None]


def partial(folder: Path, shard: Shard) -> Path:
    """Where a file lies until it is complete."""
    return folder / f".{shard.name}{PARTIAL}"


def fill_files(
    folder: Path,
    layout: Sequence[Shard],
    *,
    seed: int,
    workers: int,
    advance: Advance,
) -> dict[str, str]:
    """Write files; the hash of every tensor.

    Args:
        folder: where they lie.
        layout: the files.
        seed: an integer in [0, 2^64).
        workers: how many threads.
        advance: told of every piece's bytes.

    Returns:
        A tensor's name -> BLAKE2b-128 of its bytes, in hex.

    Raises:
        OSError: a file cannot be written; files under way are then removed, complete ones stay.
    """
    hashes: dict[str, str] = {}
    piece = min(max(MEMORY // workers, PIECE // 16), PIECE)
    files = [_File(folder, shard) for shard in layout]
    queue = _Queue(
        (file, entry, start)
        for file in files
        for entry, start in sorted(file.shard.tensors, key=lambda t: -t[0].nbytes)
    )

    def work() -> None:
        memory = page_aligned(piece)
        try:
            for file, entry, start in queue:
                file.begin()
                hashes[entry.name] = file.take(entry, start, seed, memory, queue.watched(advance))
                file.end(entry)
        except _Stopped:
            pass  # another thread has failed, and says why
        except BaseException:
            queue.stop()
            raise

    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="isometry") as pool:
            running = [pool.submit(work) for _ in range(workers)]
            try:
                for each in running:
                    each.result()
            except BaseException:  # an interrupt too: no thread goes on behind the caller's back
                queue.stop()
                raise
    finally:
        for file in files:
            file.discard()
    return hashes


class _Stopped(Exception):
    """There is no use in going on."""


class _Queue:
    """Work handed out to threads one by one, until there is none or somebody stops."""

    def __init__(self, jobs: Iterable[tuple[_File, Entry, int]]) -> None:
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[tuple[_File, Entry, int]]:
        while not self._stopped:
            with self._lock:
                job = next(self._jobs, None)
            if job is None:
                return
            yield job

    def stop(self) -> None:
        self._stopped = True

    def watched(self, advance: Advance) -> Advance:
        """`advance`, which ends a thread at its next piece once somebody has stopped."""

        def step(count: int) -> None:
            if self._stopped:
                raise _Stopped
            advance(count)

        return step


class _File:
    """A file that is being written, under a temporary name."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.shard = shard
        self._temporary, self._final = partial(folder, shard), folder / shard.name
        self._left = len(shard.tensors)
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None

    def begin(self) -> None:
        """Make the file with all its room and its header, if nobody has."""
        with self._lock:
            if self._file is None:
                self._file = open(self._temporary, "w+b", buffering=0)  # noqa: SIM115
                reserve(self._file, self.shard.size)
                write_all(self._file, self.shard.header)

    def take(
        self, entry: Entry, start: int, seed: int, memory: NDArray[np.uint8], advance: Advance
    ) -> str:
        hashed = new_hash()
        with running(self._temporary, start) as run:
            for box in pieces(entry, memory.size - PAGE):
                room = run.room(memory)
                fits = _bytes(entry, box) <= room.size
                data = piece_bytes(entry, box, seed, room if fits else None)
                hashed.update(data)
                run.write(data)
                advance(data.size)
        return str(hashed.hexdigest())

    def end(self, entry: Entry) -> None:
        """One tensor more is there; after the last the file gets its name."""
        with self._lock:
            self._left -= 1
            if self._left:
                return
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        publish(self._temporary, self._final)

    def discard(self) -> None:
        """Take away what is not complete."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()


def _bytes(entry: Entry, box: Box) -> int:
    count: int = math.prod(p.stop - p.start for p in box)
    return count * int(STORAGE[entry.dtype].itemsize)
